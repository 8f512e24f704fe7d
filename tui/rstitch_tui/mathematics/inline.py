"""A formula on one line, with the brackets that its form in two dimensions does not need."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from rstitch_tui.mathematics.nodes import (
    Accent,
    Boxed,
    Delimited,
    Fraction,
    Kind,
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
from rstitch_tui.mathematics.symbols import subscript, superscript
from rstitch_tui.mathematics.tokens import UnsupportedError

BOX = "▐{}▌"
_OPENING, _CLOSING = "([{⟨⌊⌈", ")]}⟩⌋⌉"
_ROOTS = {"3": "∛", "4": "∜"}
_PRIMES = {"′′": "″", "′′′": "‴"}
_DIFFERENTIALS = ("d", "∂")
_SIGN = "−"


class SeveralLinesError(UnsupportedError):
    """The formula needs several lines."""


def inline(node: Node, *, tight: bool = False) -> str:
    """Return a formula on one line; raises SeveralLinesError if that is not possible.

    Args:
        node: the formula.
        tight: whether it is a script, without spaces around operators.
    """
    match node:
        case Symbol(text=text) | Text(text=text):
            return text
        case Space():
            return " " * node.cells
        case Row():
            return _row(node, tight=tight)
        case Script():
            return _script(node)
        case Fraction():
            return _fraction(node)
        case Root():
            return _root(node)
        case Delimited():
            return f"{node.left}{inline(node.body, tight=tight)}{node.right}"
        case Accent():
            return _accent(node)
        case Boxed():
            return BOX.format(inline(node.body))
        case Stack() | Table():
            return _only_part(node)


def _row(row: Row, *, tight: bool) -> str:
    parts = list(spaced(row, tight=tight))
    out = ""
    for index, (cells, node, _) in enumerate(parts):
        text = inline(node, tight=tight)
        if isinstance(node, Fraction) and node.bar and len(parts) > 1:
            if index and not cells and is_mixed_number(parts[index - 1][1], node):
                cells = 1
            elif not _stands_alone(parts, index):
                text = f"({text})"
        if not cells and text and needs_space(out, text):
            cells = 1
        elif cells == 1 and (text[:1] == " " or out[-1:] == " "):
            cells = 0
        out += " " * cells + text
    return out


def needs_space(before: str, text: str) -> bool:
    """Return whether a text would be read as part of a root or a script before it: √2 x, x_b y."""
    if not (before and before[-1].isalnum() and (text[0].isalnum() or text[0] in "√∛∜")):
        return False
    start = len(before.rstrip("0123456789.,")) if before[-1].isdigit() else len(before) - 1
    return start > 0 and before[start - 1] in "√∛∜_^"


def is_mixed_number(before: Node, fraction: Fraction) -> bool:
    """Return whether a number and a fraction of numbers are one number, as 2 1/2."""
    return all(
        isinstance(each, Symbol) and each.text.isdigit()
        for each in (before, *flat(fraction.top), *flat(fraction.bottom))
    )


def _stands_alone(parts: Sequence[tuple[int, Node, Kind]], index: int) -> bool:
    """Return whether a fraction on one line needs no brackets among its neighbors."""
    before, after = (parts[i] if 0 <= i < len(parts) else None for i in (index - 1, index + 1))
    negative = inline(parts[index][1]).startswith(_SIGN)
    if before is not None:
        _, node, kind = before
        set_apart = parts[index][0] > 1 or (isinstance(node, Text) and node.text[-1:].isspace())
        is_sign = isinstance(node, Symbol) and node.text in "+−±∓"
        is_product = isinstance(node, Symbol) and node.text in "·×"
        if not (set_apart or kind in ("rel", "punct", "open") or ((is_sign or is_product) and not negative)):
            return False
    if after is None or after[0] > 1 or after[2] in ("rel", "punct", "close", "bin"):
        return True
    return isinstance(after[1], Text) and not after[1].text[:1].isalnum()


def _fraction(node: Fraction) -> str:
    top, bottom = inline(node.top), inline(node.bottom)
    if not node.bar:
        return f"({top} choose {bottom})"
    if not is_product(node.top):
        top = f"({top})"
    if not (_is_atom(node.bottom) or _is_differential(node.bottom)):
        bottom = f"({bottom})"
    return f"{top}/{bottom}"


def _script(node: Script) -> str:
    base = inline(node.base)
    if not _is_script_base(node.base):
        base = f"({base})"
    sub = inline(node.sub, tight=True).strip() if node.sub is not None else ""
    sup = inline(node.sup, tight=True).strip() if node.sup is not None else ""
    below = subscript(sub)
    if sub and below is None:
        below = f"_({sub})" if sup or not _is_short(sub) else f"_{sub}"
    return base + (below or "") + (superscript_text(sup) or (_raised(sup) if sup else ""))


def superscript_text(text: str) -> str | None:
    """Return primes, degrees and letters that Unicode has as superscripts; None for other texts."""
    primes = text[: len(text) - len(text.lstrip("′"))]
    rest = text[len(primes) :]
    letters = "°" if rest == "∘" else superscript(rest) if rest else ""
    return None if letters is None else _PRIMES.get(primes, primes) + letters


def _raised(text: str) -> str:
    return f"^{text}" if _is_short(text) else f"^({text})"


def _is_short(text: str) -> bool:
    return cell_len(text) == 1 or is_enclosed(text)


def _root(node: Root) -> str:
    body = inline(node.body)
    return root_sign(node) + (body if _is_radicand(node.body) else bracketed(body))


def root_sign(node: Root) -> str:
    """Return the sign of a root with its index."""
    if node.index is None:
        return "√"
    index = inline(node.index, tight=True)
    sign = _ROOTS.get(index)
    if sign is None:
        raised = superscript(index)
        if raised is None:
            raise UnsupportedError("an index")
        sign = f"{raised}√"
    return sign


def _accent(node: Accent) -> str:
    body = inline(node.body, tight=True)
    if cell_len(body) != 1 and node.above:
        raise SeveralLinesError("a wide accent")
    # A mark belongs to the character before it; other marks may follow that.
    return "".join(character + node.mark if cell_len(character) else character for character in body)


def _only_part(node: Stack | Table) -> str:
    if isinstance(node, Table) and len(node.rows) == 1 and len(node.rows[0]) == 1:
        return inline(node.rows[0][0])
    if isinstance(node, Stack) and not node.brace and not any(part and flat(part) for part in (node.above, node.below)):
        return inline(node.base)
    raise SeveralLinesError("lines")


# What needs brackets


def is_enclosed(text: str) -> bool:
    """Return whether a text begins with a bracket that its last character closes."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if not depth:
            return index > 0 and index == len(text) - 1
    return False


def bracketed(text: str) -> str:
    """Return a text in brackets, unless it is already."""
    return text if is_enclosed(text) else f"({text})"


def is_product(node: Node) -> bool:
    """Return whether a node is a product, so that it can be divided without brackets; a sign may precede it."""
    depth = 0
    parts = list(spaced(node if isinstance(node, Row) else Row([node])))
    for index, (cells, item, kind) in enumerate(parts):
        if isinstance(item, Symbol):
            depth += (kind == "open") - (kind == "close" and item.text in _CLOSING)
        inner = item if isinstance(item, Row) else None
        if depth == 0 and (
            (index and cells)
            or kind in ("bin", "rel", "punct", "op")
            or isinstance(item, Fraction)
            or (isinstance(item, Text) and " " in item.text)
            or (inner is not None and not is_product(inner))
        ):
            return False
    return bool(parts)


def _is_atom(node: Node) -> bool:
    items = flat(node)
    if len(items) == 1:
        match items[0]:
            case Symbol(kind=kind):
                return kind in ("ord", "op")
            case Text(text=text):
                return " " not in text
            case Script(base=base):
                return _is_atom(base) and " " not in inline(items[0])
            case Fraction(bar=bar):
                return not bar
            case Delimited():
                return bool(items[0].left and items[0].right)
            case Accent() | Root() | Boxed():
                return True
        return False
    # f(x), (a+b)
    start = 1 if isinstance(items[0], Symbol) and items[0].kind == "ord" and items[0].text.isalpha() else 0
    return bool(items) and is_enclosed(inline(Row(items[start:])))


def _is_differential(node: Node) -> bool:
    items = flat(node)
    return len(items) == 2 and isinstance(items[0], Symbol) and items[0].text in _DIFFERENTIALS and _is_atom(items[1])


def _is_script_base(node: Node) -> bool:
    items = flat(node)
    if len(items) == 1:
        return not isinstance(items[0], Fraction | Root | Boxed) or (
            isinstance(items[0], Fraction) and not items[0].bar
        )
    return not items or is_enclosed(inline(Row(items)))


def _is_radicand(node: Node) -> bool:
    """Return whether a root of a node needs no brackets: a number, a letter."""
    items = flat(node)
    return len(items) == 1 and (isinstance(items[0], Symbol | Accent) and items[0] != Symbol(""))
