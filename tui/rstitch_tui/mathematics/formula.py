"""A formula as one line, or as a block of lines that fits a width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import cycle

from rstitch_tui.mathematics.box import Box
from rstitch_tui.mathematics.commands import COMMANDS
from rstitch_tui.mathematics.environments import lines
from rstitch_tui.mathematics.inline import inline
from rstitch_tui.mathematics.layout import layout
from rstitch_tui.mathematics.nodes import Kind, Node, Row, Space, Symbol, Table, Text, flat
from rstitch_tui.mathematics.parse import MAX_LENGTH, Parser
from rstitch_tui.mathematics.spacing import spaced
from rstitch_tui.mathematics.tokens import UnsupportedError

_HANGING_INDENT = 4


@dataclass(frozen=True)
class Formula:
    """A formula that can be shown."""

    _rows: Sequence[Row]
    _box: Box

    @property
    def line(self) -> str | None:
        """The formula on one line; None if it needs several, as a matrix does."""
        lines = self.long_lines
        return lines[0] if lines and len(lines) == 1 else None

    @cached_property
    def long_lines(self) -> Sequence[str] | None:
        """Each row of the formula on one line, however long; None if one needs several."""
        try:
            return [inline(row).strip() for row in self._rows]
        except UnsupportedError:
            return None

    def block(self, width: int) -> Sequence[str] | None:
        """Return the formula as lines of at most `width` cells; None if it cannot be broken into such lines."""
        if self._box.width <= width:
            return [line.rstrip() for line in self._box.lines]
        boxes = [box for row in self._rows for box in _broken(row, width)]
        if any(box.width > width for box in boxes):
            return None
        apart = [""] if any(box.height > 1 for box in boxes) else []
        lines = [line.rstrip() for box in boxes for line in (*apart, *box.lines)]
        return lines[len(apart) :]


@lru_cache(maxsize=1024)
def formula(source: str, punctuation: str = "") -> Formula | None:
    """Return the formula of TeX without delimiters; None if it cannot be shown faithfully.

    Args:
        source: the TeX.
        punctuation: what follows the formula, on its line or that of its last row.
    """
    try:
        return parse_formula(source, punctuation)
    except UnsupportedError:
        return None


def parse_formula(source: str, punctuation: str = "") -> Formula:
    """Return the formula as `formula` does, but raise UnsupportedError if it cannot be shown faithfully."""
    if len(source) > MAX_LENGTH:
        raise UnsupportedError("too long")
    node = lines(Parser(source, COMMANDS))
    (node,) = flat(node) if len(flat(node)) == 1 else [node]
    if punctuation:
        node = _followed_by(node, Symbol(punctuation, "close"))
    rows = [Row(_items(node))]
    if isinstance(node, Table) and not any(node.rules) and not node.bars:
        rows = [_joined(node, row) for row in node.rows]
    return Formula(rows, layout(node))


def _followed_by(node: Node, punctuation: Symbol) -> Node:
    if not isinstance(node, Table):
        return Row([*_items(node), punctuation])
    *rows, last = node.rows
    return replace(node, rows=[*rows, [*last[:-1], Row([*_items(last[-1]), punctuation])]])


def _joined(table: Table, cells: Sequence[Node]) -> Row:
    """Return a row of a table as a row of nodes."""
    items: list[Node] = []
    for cell, gap in zip(cells, cycle(table.gaps)):
        items += [*_items(cell), Space(gap)]
    return Row(items[:-1])


def _items(node: Node) -> Sequence[Node]:
    return node.items if isinstance(node, Row) else [node]


def _broken(row: Row, width: int) -> list[Box]:
    """Break a row before relations, and before operators and after commas where that is not enough."""
    boxes: list[Box] = []
    line: list[Node] = []
    used = 0
    for part in _parts(row, width - _HANGING_INDENT):
        # An operator at the start of a line is between two operands all the same.
        cells = layout(Row([Row(()), *part])).width
        if line and used + cells > width:
            boxes.append(layout(Row(line)))
            line = [Text(" " * _HANGING_INDENT)]
            used = _HANGING_INDENT
        line += part
        used += cells
    return [*boxes, layout(Row(line))]


def _parts(row: Row, width: int) -> Iterator[Sequence[Node]]:
    for part in _split(row, ("rel",)):
        if layout(Row(part)).width > width:
            yield from _split(Row(part), ("rel", "bin", "punct"))
        else:
            yield part


def _split(row: Row, kinds: Sequence[Kind]) -> Iterator[Sequence[Node]]:
    """Yield the parts of a row that begin with an operator of these kinds, or after a comma."""
    part: list[Node] = []
    before: Kind = "ord"
    for cells, node, kind in spaced(row):
        if part and ((kind in kinds and kind != "punct") or (before == "punct" and "punct" in kinds)):
            yield part
            part = []
        part += [Space(cells), node]
        before = kind
    yield part
