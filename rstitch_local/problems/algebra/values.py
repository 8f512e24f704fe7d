"""Comparison of two expressions: exactly, and with a relative tolerance only where one of them is a rounded decimal.

Two numbers are equal if their difference vanishes to more digits than the numbers in it have; sympy raises the
precision until it does or does not. Two functions are equal if they are equal at several points with long fractions,
where unequal algebraic expressions of any realistic size differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import sympy
from sympy import Expr, Float, Integer, Rational

from rstitch_local.problems.algebra import arithmetic

RELATIVE_TOLERANCE = Fraction(1, 10**6)
_FLOAT_NOISE = Fraction(1, 10**14)
_UNEVALUATED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)
_EXTRA_DIGITS = 60
_MOST_DIGITS = 20_000
_FEWEST_POINTS = 2
# Rows of coordinates, assigned to the variables in alphabetical order. Negative ones tell |x| from x.
_POINTS = (
    ("1049/7919", "3571/1223", "5519/4073", "2887/6143", "7333/2221", "1733/5081"),
    ("6151/2749", "1471/8837", "2153/9371", "9137/3803", "3049/7577", "8543/2999"),
    ("-4253/3191", "8101/5323", "-1307/2459", "6991/3257", "-5839/4649", "2683/9689"),
    ("7687/1913", "-2063/3433", "4909/1567", "-8363/6373", "5209/8017", "-3821/2347"),
)
_INTEGER_POINTS = ((3, 7, 11, 17, 23, 29), (5, 12, 19, 26, 34, 41), (8, 17, 31, 43, 57, 62))


def same_value(gold: Expr, answer: Expr, *, rounded: bool = False, scientific: bool = False) -> bool:
    """Return whether two expressions (or matrices) are equal.

    Args:
        gold: the correct value.
        answer: the value to judge.
        rounded: whether one of them is a decimal, so that a relative difference of 1e-6 is allowed.
        scientific: whether one is written as `1.5e9`, so that a whole number may be rounded too.
    """
    if isinstance(gold, sympy.MatrixBase) or isinstance(answer, sympy.MatrixBase):
        return _same_matrix(gold, answer, rounded)
    if gold == answer:
        return True
    if gold.has(arithmetic.Huge) or answer.has(arithmetic.Huge):
        difference = arithmetic.collected(gold) - arithmetic.collected(answer)
        return bool(sympy.expand_mul(difference) == 0)
    if gold.has(sympy.oo, -sympy.oo) or answer.has(sympy.oo, -sympy.oo):
        return False
    if isinstance(gold, Rational) and isinstance(answer, Rational):
        return rounded and close(Fraction(gold.p, gold.q), Fraction(answer.p, answer.q), scientific=scientific)
    if gold.has(*_UNEVALUATED) or answer.has(*_UNEVALUATED):
        # A sum over an unknown function, for example; the names of bound variables do not matter.
        return bool(gold.as_dummy() == answer.as_dummy())
    gold, answer = without_applications(gold, answer)
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if not symbols:
        return _agree(gold, answer, {}, rounded)
    return _same_function(gold, answer, symbols, rounded)


def close(gold: Fraction, value: Fraction, *, scientific: bool = False) -> bool:
    """Return whether a decimal is the rounded value of another number. A whole number is rounded only as `1.5e9`."""
    whole = not scientific and (gold.denominator == 1 or value.denominator == 1)
    return abs(gold - value) <= (_FLOAT_NOISE if whole else RELATIVE_TOLERANCE) * abs(gold)


def _same_matrix(gold: Expr, answer: Expr, rounded: bool) -> bool:
    if not (isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase)):
        return False
    return gold.shape == answer.shape and all(
        same_value(*cells, rounded=rounded) for cells in zip(gold.flat(), answer.flat(), strict=True)
    )


def _same_function(gold: Expr, answer: Expr, symbols: Sequence[sympy.Basic], rounded: bool) -> bool:
    if len(symbols) > len(_POINTS[0]):
        return bool(sympy.expand(gold - answer) == 0)
    discrete = any(each.has(sympy.factorial, sympy.factorial2, sympy.binomial) or _alternates(each)
                   for each in (gold, answer))  # fmt: skip
    rows = _INTEGER_POINTS if discrete else _POINTS
    agreed = 0
    for row in rows:
        values = {symbol: Rational(value) for symbol, value in zip(symbols, row, strict=False)}
        if _is_real(gold, values) and _is_real(answer, values):
            if not _agree(gold, answer, values, rounded):
                return False
            agreed += 1
    return agreed >= _FEWEST_POINTS or bool(sympy.simplify(gold - answer) == 0)


def without_applications(*expressions: Expr) -> list[Expr]:
    """Replace applications of unknown functions, such as f(x), with symbols."""
    applied = {each for expression in expressions for each in expression.atoms(sympy.core.function.AppliedUndef)}
    names = {each: sympy.Symbol(f"applied {each}", real=True) for each in applied}
    return [expression.xreplace(names) for expression in expressions]


def _alternates(expression: Expr) -> bool:
    """Return whether it contains a power such as (-1)^n, which is real for integers only."""
    return any(each.base.is_negative and each.exp.free_symbols for each in expression.atoms(sympy.Pow))


def _is_real(expression: Expr, values: dict[sympy.Basic, Expr]) -> bool:
    """Return whether the expression has a real value there; a complex expression counts as real everywhere."""
    value = expression.evalf(15, subs=values)
    if expression.has(sympy.I):
        return bool(value.is_number) and not value.has(sympy.nan, sympy.zoo)
    return bool(value.is_real)


def _agree(gold: Expr, answer: Expr, values: dict[sympy.Basic, Expr], rounded: bool) -> bool:
    difference = gold - answer
    digits = min(_MOST_DIGITS, _EXTRA_DIGITS + 2 * _longest_integer(difference))
    gap = difference.evalf(15, subs=values, maxn=digits)
    parts = gap.as_real_imag()
    if all(part == 0 or (isinstance(part, Float) and part._prec == 1) for part in parts):
        # Precision 1 means that not one digit is known: the terms cancel.
        return True
    if not rounded or not gap.is_number:
        return False
    size = gold.evalf(15, subs=values, maxn=digits)
    if isinstance(gold, Integer) or isinstance(answer, Integer):
        return bool(abs(gap) <= float(_FLOAT_NOISE) * abs(size))
    return bool(abs(gap) <= float(RELATIVE_TOLERANCE) * abs(size))


def _longest_integer(expression: Expr) -> int:
    numbers = (abs(number) for each in expression.atoms(Rational) for number in (each.p, each.q))
    # Three bits are about one digit.
    return max((number.bit_length() for number in numbers), default=0) // 3
