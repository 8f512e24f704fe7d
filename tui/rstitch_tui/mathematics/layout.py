"""A formula as a block of lines: fractions, limits, scripts without Unicode characters, matrices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import cast

from rstitch_tui.mathematics.box import Alignment, Box, beside, bracketed, heightened, padded, stacked, text_box
from rstitch_tui.mathematics.inline import inline, is_enclosed, needs_space, root_sign, superscript_text
from rstitch_tui.mathematics.nodes import (
    Accent,
    Boxed,
    Delimited,
    Fraction,
    Node,
    Root,
    Row,
    Script,
    Space,
    Stack,
    Symbol,
    Table,
    Text,
    flat,
)
from rstitch_tui.mathematics.spacing import spaced
from rstitch_tui.mathematics.symbols import subscript

_BAR, _RULE = "─", "│"
_EMPTY = Row(())


def layout(node: Node, *, tight: bool = False) -> Box:
    """Return a formula as lines; raises UnsupportedError if it cannot be shown.

    Args:
        node: the formula.
        tight: whether it is a script, without spaces around operators and limits beside them.
    """
    match node:
        case Symbol() | Text() | Space():
            return text_box(inline(node))
        case Row():
            return _row(node, tight=tight)
        case Script():
            return _script(node, tight=tight)
        case Fraction():
            return _fraction(node)
        case Root():
            return _root(node)
        case Delimited():
            return _delimited(node, tight=tight)
        case Accent():
            return _accent(node)
        case Stack():
            return _stack(node)
        case Boxed():
            return _boxed(layout(node.body))
        case Table():
            return _table(node)


def _row(row: Row, *, tight: bool) -> Box:
    boxes: list[Box] = []
    was_fraction = False
    for cells, node, kind in spaced(row, tight=tight):
        box = layout(node, tight=tight)
        is_fraction = isinstance(node, Fraction) and node.bar
        before = boxes[-1].lines[boxes[-1].baseline] if boxes else ""
        text = box.lines[box.baseline]
        if not cells and (
            # A minus would join the bar.
            ((is_fraction and boxes) or (was_fraction and kind in ("ord", "op")))
            or (before and text and box.height == 1 and needs_space(before, text))
        ):
            cells = 1
        boxes += [text_box(" " * cells), box] if cells else [box]
        was_fraction = is_fraction
    return beside(boxes)


def _fraction(node: Fraction) -> Box:
    top, bottom = layout(node.top), layout(node.bottom)
    width = max(top.width, bottom.width)
    if not node.bar:
        return bracketed("(", stacked([top, text_box(" "), bottom], 1), ")")
    if top.height > 1 or bottom.height > 1:
        # Longer than the bars within it.
        width += 2
    return stacked([top, text_box(_BAR * width), bottom], 1)


def _script(node: Script, *, tight: bool) -> Box:
    base = layout(node.base, tight=tight)
    base_items = flat(node.base)
    if not tight and len(base_items) == 1 and isinstance(base_items[0], Symbol) and base_items[0].limits:
        return _with_limits(base, node.sup, node.sub)
    if (not _is_base(node.base)) if base.height == 1 else isinstance(node.base, Fraction | Root):
        base = bracketed("(", base, ")")
    sub = _small(node.sub, below=True) if node.sub is not None else None
    sup = _small(node.sup, below=False) if node.sup is not None else None
    if base.height == 1 and all(each is None or each[1] for each in (sub, sup)):
        return beside([base, *(each[0] for each in (sub, sup) if each)])
    return _raised(base, sub, sup)


def _is_base(node: Node) -> bool:
    items = flat(node)
    return len(items) <= 1 or is_enclosed(inline(Row(items)))


def _small(node: Node, *, below: bool) -> tuple[Box, bool]:
    """Return a script, and whether it is made of characters that are raised or lowered themselves."""
    box = layout(node, tight=True)
    text = box.lines[0].strip() if box.height == 1 else None
    small = None if text is None else (subscript(text) if below else superscript_text(text)) if text else ""
    return (box, False) if small is None else (text_box(small), True)


def _raised(base: Box, sub: tuple[Box, bool] | None, sup: tuple[Box, bool] | None) -> Box:
    """Put scripts beside a base: small ones on its first and last line, others above and below it."""
    scripts, above, below = [], 0, 0
    for script, is_sup in ((sup, True), (sub, False)):
        if script is None:
            continue
        box, is_small = script
        # Next to a tall base, a script of one line is at its first or last line.
        overlap = 1 if is_small or box.height == 1 < base.height else 0
        if is_sup:
            above = max(0, box.height - overlap)
            scripts.append((box, 0))
        else:
            below = max(0, box.height - overlap)
            scripts.append((box, -1))
    height = above + base.height + below
    width = max(box.width for box, _ in scripts)
    lines = [" " * width] * height
    for box, end in scripts:
        rows = padded(box, width, "l").lines
        if end == 0:
            lines[: box.height] = rows
        else:
            lines[height - box.height :] = rows
    return beside([heightened(base, above, below), Box(lines, width, above + base.baseline)])


def _with_limits(base: Box, above: Node | None, below: Node | None) -> Box:
    boxes = [layout(node, tight=True) for node in (above, below) if node is not None]
    if above is None:
        return stacked([base, *boxes], 0)
    return stacked([boxes[0], base, *boxes[1:]], 1)


def _root(node: Root) -> Box:
    body = layout(node.body)
    if body.height == 1:
        return text_box(inline(node))
    return beside([text_box(root_sign(node)), bracketed("(", body, ")")])


def _delimited(node: Delimited, *, tight: bool) -> Box:
    body = node.body
    items = flat(body)
    if len(items) == 1 and isinstance(items[0], Table) and {"{", "}"} & {node.left, node.right}:
        # Room for the point of the brace.
        return bracketed(node.left, _table(items[0], room=len(items[0].rows) == 2), node.right)
    return bracketed(node.left, layout(body, tight=tight), node.right)


def _accent(node: Accent) -> Box:
    body = layout(node.body, tight=True)
    if body.height == 1 and (body.width == 1 or not node.above):
        return text_box(inline(node))
    mark = node.above or _BAR
    if mark in "→←↔":
        line = _BAR * (body.width - 1)
        row = line + mark if mark == "→" else mark + line if mark == "←" else mark + line[1:] + mark
    else:
        row = mark * body.width if mark == _BAR else mark
    return stacked([text_box(row), body], 1)


def _stack(node: Stack) -> Box:
    base = layout(node.base)
    above = layout(node.above, tight=True) if node.above is not None else None
    below = layout(node.below, tight=True) if node.below is not None else None
    if isinstance(node.base, Symbol) and node.base.kind == "rel" and node.base.text in "→←⇒⇐":
        base = _stretched(node.base.text, max(box.width for box in (base, above, below) if box))
    boxes = [above, _brace(base.width, "╭┴╮") if node.brace and above else None, base]
    boxes += [_brace(base.width, "╰┬╯") if node.brace and below else None, below]
    shown = [box for box in boxes if box is not None]
    return stacked(shown, shown.index(base))


def _stretched(arrow: str, width: int) -> Box:
    line = ("═" if arrow in "⇒⇐" else _BAR) * (width + 1)
    return text_box(line + arrow if arrow in "→⇒" else arrow + line)


def _brace(width: int, pieces: str) -> Box:
    inner = max(1, width - 2)
    return text_box(pieces[0] + (inner // 2) * _BAR + pieces[1] + (inner - inner // 2 - 1) * _BAR + pieces[2])


def _boxed(body: Box) -> Box:
    line = _BAR * (body.width + 2)
    lines = [f"┌{line}┐", *(f"{_RULE} {each} {_RULE}" for each in body.lines), f"└{line}┘"]
    return Box(lines, body.width + 4, body.baseline + 1)


def _table(node: Table, *, room: bool = False) -> Box:
    """Draw a table; `room` puts an empty line between its rows."""
    count = max(map(len, node.rows))
    rows = [[layout(cell) for cell in (*row, *[_EMPTY] * (count - len(row)))] for row in node.rows]
    widths = [max(box.width for box in column) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    width = 0
    for number, row in enumerate(rows):
        line = _table_row(node, row, widths)
        width = line.width
        if number and (room or max(box.height for each in rows[number - 1 : number + 1] for box in each) > 1):
            lines.append(" " * width)
        if node.rules and node.rules[number]:
            lines.append(_BAR * width)
        lines += line.lines
    if node.rules and node.rules[-1]:
        lines.append(_BAR * width)
    baseline = beside(rows[0]).baseline if len(rows) == 1 else (len(lines) - 1) // 2
    return Box(lines, width, baseline)


def _table_row(node: Table, row: Sequence[Box], widths: Sequence[int]) -> Box:
    cells: list[Box] = []
    alignments, gaps = cycle(node.columns), cycle(node.gaps)
    for column, (box, width) in enumerate(zip(row, widths, strict=True)):
        if column in node.bars:
            cells.append(text_box(f"{' ' if column else ''}{_RULE} "))
        elif column:
            cells.append(text_box(" " * next(gaps)))
        cells.append(padded(box, width, cast(Alignment, next(alignments))))
    if len(row) in node.bars:
        cells.append(text_box(f" {_RULE}"))
    return beside(cells)
