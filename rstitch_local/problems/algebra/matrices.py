"""Matrices in expressions: LaTeX environments and nested lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sympy
from sympy import Expr, Integer

if TYPE_CHECKING:
    from rstitch_local.problems.algebra.expressions import Parser

_DETERMINANTS = ("vmatrix", "Vmatrix")
_LARGEST_POWER = 100
_LARGEST_SYMBOLIC = 5


def environment(parser: Parser, begin: str) -> Expr:
    r"""Read a matrix after its `\begin{...}`; a `vmatrix` is its determinant."""
    rows: list[list[Expr]] = [[]]
    while parser.kind != "end":
        if parser.kind == "row":
            parser.next()
            rows.append([])
        elif not parser.accept("&", "hline"):
            rows[-1].append(parser.sum())
    parser.next()
    matrix = _filled(parser, rows)
    return determinant(matrix) if any(name in begin for name in _DETERMINANTS) else matrix


def nested_lists(parser: Parser) -> Expr:
    """Read `[1, 2], [3, 4]]` after the first bracket."""
    rows: list[list[Expr]] = []
    while parser.accept("[") or (parser.accept(",") and parser.accept("[")):
        rows.append([parser.sum()])
        while parser.accept(","):
            rows[-1].append(parser.sum())
        parser.expect("]")
    parser.expect("]")
    return _filled(parser, rows)


def power(matrix: Expr, exponent: Expr) -> Expr:
    """Return a power of a matrix.

    Raises:
        TypeError: the exponent is not a whole number, or too large.
    """
    largest = _LARGEST_SYMBOLIC if matrix.free_symbols else _LARGEST_POWER
    if not isinstance(exponent, Integer) or abs(exponent) > largest:
        raise TypeError(exponent)
    return matrix**exponent


def determinant(matrix: Expr) -> Expr:
    """Return the determinant.

    Raises:
        TypeError: the argument is no matrix, or a matrix of variables that is too large.
    """
    if not isinstance(matrix, sympy.MatrixBase) or (matrix.free_symbols and matrix.rows > _LARGEST_SYMBOLIC):
        raise TypeError(matrix)
    return matrix.det()


def _filled(parser: Parser, rows: list[list[Expr]]) -> Expr:
    if not rows[-1]:
        # The last row may end with a line break.
        rows.pop()
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise parser.error()
    return sympy.ImmutableDenseMatrix(rows)
