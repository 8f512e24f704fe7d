"""The tree of a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["ord", "op", "bin", "rel", "open", "close", "punct"]
"""What a symbol is, as in TeX: ordinary, function, binary operator, relation, bracket, punctuation."""


@dataclass(frozen=True)
class Symbol:
    """A character, a number or the name of a function. `limits`: in lines of their own, scripts go above and below."""

    text: str
    kind: Kind = "ord"
    limits: bool = False


@dataclass(frozen=True)
class Text:
    """Words, with their spaces."""

    text: str


@dataclass(frozen=True)
class Space:
    """A space of some cells; a negative one removes the space that would be there."""

    cells: int


@dataclass(frozen=True)
class Row:
    """Nodes side by side."""

    items: Sequence[Node]


@dataclass(frozen=True)
class Fraction:
    """One node over another; without a bar it is a binomial coefficient."""

    top: Node
    bottom: Node
    bar: bool = True


@dataclass(frozen=True)
class Root:
    """A square root, or the root of an index."""

    body: Node
    index: Node | None = None


@dataclass(frozen=True)
class Script:
    """A node with a subscript, a superscript or both."""

    base: Node
    sub: Node | None = None
    sup: Node | None = None


@dataclass(frozen=True)
class Delimited:
    """A node between brackets that grow with it; "" for no bracket."""

    left: str
    body: Node
    right: str


@dataclass(frozen=True)
class Accent:
    """A node under a mark: a combining character for each character, or a row that is drawn above several.

    Attributes:
        body: the node.
        mark: the combining character.
        above: the row for several characters, repeated or centered; "" if each gets the mark.
    """

    body: Node
    mark: str
    above: str = ""


@dataclass(frozen=True)
class Stack:
    """A node with others above and below; `brace` draws a brace between them."""

    base: Node
    above: Node | None = None
    below: Node | None = None
    brace: bool = False


@dataclass(frozen=True)
class Boxed:
    """A node in a box."""

    body: Node


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        rows: the cells.
        columns: the alignment of each column, "l", "c" or "r", repeated.
        gaps: cells between two columns, repeated.
        rules: for each row, whether a line is drawn above it; one more than rows.
        bars: columns to the left of which a line is drawn.
    """

    rows: Sequence[Sequence[Node]]
    columns: str = "c"
    gaps: Sequence[int] = (2,)
    rules: Sequence[bool] = ()
    bars: Sequence[int] = ()


Node: TypeAlias = Symbol | Text | Space | Row | Fraction | Root | Script | Delimited | Accent | Stack | Boxed | Table


def flat(node: Node) -> Sequence[Node]:
    """Return the items of a row without spaces, also in groups of one item; another node is its only item."""
    while isinstance(node, Row):
        items = [item for item in node.items if not isinstance(item, Space)]
        if len(items) != 1:
            return items
        node = items[0]
    return [node]
