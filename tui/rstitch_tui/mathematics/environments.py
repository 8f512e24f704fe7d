"""Environments of TeX: matrices, cases, aligned lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rstitch_tui.mathematics.nodes import Delimited, Node, Row, Table
from rstitch_tui.mathematics.parse import Parser
from rstitch_tui.mathematics.tokens import UnsupportedError


@dataclass(frozen=True)
class _Layout:
    """How an environment is drawn: its brackets, the alignment of its columns, and the gaps between them."""

    left: str = ""
    right: str = ""
    columns: str = "c"
    gaps: tuple[int, ...] = (2,)
    argument: bool = False


_ALIGNED = _Layout(columns="rl", gaps=(0, 4))
_CENTERED = _Layout()
_LAYOUTS: Mapping[str, _Layout] = {
    "matrix": _Layout(),
    "smallmatrix": _Layout(),
    "pmatrix": _Layout("(", ")"),
    "bmatrix": _Layout("[", "]"),
    "Bmatrix": _Layout("{", "}"),
    "vmatrix": _Layout("|", "|"),
    "Vmatrix": _Layout("‖", "‖"),
    "cases": _Layout("{", "", "l"),
    "dcases": _Layout("{", "", "l"),
    "rcases": _Layout("", "}", "l"),
    "array": _Layout(argument=True),
    "eqnarray": _Layout(columns="rcl", gaps=(1,)),
    "alignat": _Layout(columns="rl", gaps=(0, 2), argument=True),
    "alignedat": _Layout(columns="rl", gaps=(0, 2), argument=True),
    **dict.fromkeys(("aligned", "align", "split", "flalign"), _ALIGNED),
    **dict.fromkeys(("gathered", "gather", "multline", "equation", "displaymath", "math"), _CENTERED),
}
_DISTANCE = re.compile(r"\*?\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]")
_ROW_ENDS = ("&", r"\\", r"\cr", r"\hline", r"\end")


def parse_environment(parser: Parser) -> Node:
    r"""Parse an environment; \begin has been consumed."""
    name = parser.tokens.raw_group()
    layout = _LAYOUTS.get(name.removesuffix("*"))
    if layout is None:
        raise UnsupportedError(name)
    argument = parser.tokens.raw_group() if layout.argument else ""
    columns, bars = _column_types(argument) if name.startswith("array") else (layout.columns, ())
    rows, rules = _rows(parser, r"\end")
    parser.tokens.expect(r"\end")
    if parser.tokens.raw_group() != name or not rows:
        raise UnsupportedError(name)
    if layout.columns == "rl":
        rows = _continued(rows)
    table = Table(rows, columns, layout.gaps, rules, bars)
    return Delimited(layout.left, table, layout.right) if layout.left or layout.right else table


def lines(parser: Parser, end: str = "") -> Node:
    r"""Parse lines that are separated by \\, up to a token, which is not consumed; a single line is a row."""
    rows, rules = _rows(parser, end)
    if not rows:
        raise UnsupportedError("nothing")
    if len(rows) == 1 and len(rows[0]) == 1:
        return rows[0][0]
    layout = _CENTERED if all(len(row) == 1 for row in rows) else _ALIGNED
    return Table(_continued(rows), layout.columns, layout.gaps, rules)


def _rows(parser: Parser, end: str) -> tuple[list[list[Row]], list[bool]]:
    """Parse the cells up to a token, which is not consumed."""
    rows: list[list[Row]] = [[]]
    rules = [False]
    while True:
        while parser.tokens.skip(r"\hline"):
            rules[-1] = True
        if parser.tokens.peek() == end and not rows[-1]:
            break
        rows[-1].append(parser.row((*_ROW_ENDS, end)))
        token = parser.tokens.peek()
        if token == end:
            rules.append(False)
            rows.append([])
            break
        if token == r"\hline":
            raise UnsupportedError("a line within a row")
        parser.tokens.next()
        if token != "&":
            parser.tokens.skip_match(_DISTANCE)
            rows.append([])
            rules.append(False)
    return rows[:-1], rules


def _continued(rows: list[list[Row]]) -> list[list[Row]]:
    """Make the right cell of each pair continue the left one: its first operator is between two operands."""
    return [[Row([Row(()), *cell.items]) if i % 2 else cell for i, cell in enumerate(row)] for row in rows]


def _column_types(argument: str) -> tuple[str, tuple[int, ...]]:
    """Return the alignments of an array's columns, and the columns with a bar to their left."""
    columns = "".join(argument.split())
    if not re.fullmatch(r"\|?(?:[lcr]\|?)+", columns):
        raise UnsupportedError("columns")
    bars = tuple(len(columns[:i].replace("|", "")) for i, each in enumerate(columns) if each == "|")
    return columns.replace("|", ""), bars
