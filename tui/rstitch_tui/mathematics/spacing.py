"""The spaces between the nodes of a row, by TeX's rules in whole cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rstitch_tui.mathematics.nodes import Delimited, Kind, Node, Row, Script, Space, Stack, Symbol, flat

_LEFT_OF_OPERAND = ("bin", "rel", "open", "punct", "op")
_RIGHT_OF_OPERAND = ("rel", "close", "punct")


def kind_of(node: Node) -> Kind:
    """Return what a node is for the spaces around it."""
    match node:
        case Symbol():
            return node.kind
        case Script(base=base):
            return kind_of(base)
        case Stack(base=base):
            items = flat(base)
            return kind_of(items[0]) if len(items) == 1 else "ord"
        case Delimited():
            return "open"
    return "ord"


def spaced(row: Row, *, tight: bool = False) -> Iterator[tuple[int, Node, Kind]]:
    """Yield the nodes of a row without its spaces: the cells before each, the node, and what it is.

    Args:
        row: the row.
        tight: whether it is a script, in which only functions are set apart.
    """
    nodes = [node for node in row.items if not isinstance(node, Space)]
    kinds = iter(_with_signs(nodes))
    before: Kind | None = None
    explicit = 0
    for node in row.items:
        if isinstance(node, Space):
            explicit = node.cells if node.cells < 0 else max(explicit, node.cells)
            continue
        kind = next(kinds)
        cells = _cells(before, kind, tight=tight) if before is not None and explicit >= 0 else 0
        yield max(cells, explicit), node, kind
        before, explicit = _right_side(node, kind), 0


def _with_signs(nodes: Sequence[Node]) -> Iterator[Kind]:
    """Yield what each node is; an operator without an operand on both sides, such as a sign, is ordinary."""
    kinds = [kind_of(node) for node in nodes]
    before: Kind | None = None
    for index, kind in enumerate(kinds):
        after = kinds[index + 1] if index + 1 < len(kinds) else None
        if kind == "bin" and (
            before is None or before in _LEFT_OF_OPERAND or after is None or after in _RIGHT_OF_OPERAND
        ):
            kind = "ord"
        yield kind
        before = _right_side(nodes[index], kind)


def _right_side(node: Node, kind: Kind) -> Kind:
    """Return what a node is for the one to its right."""
    inner = node.base if isinstance(node, Script) else node
    return "close" if isinstance(inner, Delimited) else kind


def _cells(left: Kind, right: Kind, *, tight: bool) -> int:
    """Return the cells between two neighbors."""
    if not tight:
        if "rel" in (left, right):
            return int(left not in ("open", right) and right not in ("close", "punct"))
        if "bin" in (left, right):
            return 1
        if left == "punct":
            return int(right not in ("close", "punct"))
    if left == "op":
        return int(right in ("ord", "op"))
    return int(right == "op" and left in ("ord", "close"))
