r"""Equations and inequalities: names before values (`x = 5`, `f(x) = 2x`), and equality up to a factor."""

from __future__ import annotations

import re
from typing import NamedTuple

import sympy
from sympy import Expr
from sympy.core.function import AppliedUndef

from rstitch_local.problems import numerals, splitting
from rstitch_local.problems.algebra.expressions import readings
from rstitch_local.problems.algebra.tokens import NotAnExpressionError
from rstitch_local.problems.algebra.values import same_value

_NAME = re.compile(
    r"(?:[A-Za-z'\s|:,]|\\(?!frac|sqrt|sum|int|prod|lim|pm|mp|cdot|times|begin|end)[A-Za-z]+|\\text\{[^{}]*\}"
    r"|_\s*(?:\{[^{}]*\}|\w)|\^\s*(?:\{?[*']\}?|\\circ)|\([^()+*/=-]*\))+"
)
_NAME_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z]\s*\(\s*([A-Za-z])\s*\)")
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_LETTER = re.compile(r"[A-Za-z]")
_MOST_OPERATIONS = 200
_HIGHEST_DEGREE = 20
_MIRRORED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


class Named(NamedTuple):
    """A value with a name: `x = 5`."""

    name: str
    value: str


def named(text: str) -> Named:
    r"""Split `name = value`; the name is empty if there is none. The last value of `x = 2 + 3 = 5` counts."""
    sides, signs = splitting.relation(text)
    if not signs or set(signs) - {"=", r"\approx"}:
        return Named("", text)
    if is_name(sides[0]):
        last = signs.index(r"\approx") if r"\approx" in signs[1:] else len(sides) - 1
        return Named(sides[0], sides[last])
    if len(sides) == 2 and is_name(sides[1]) and len(sides[1]) == 1:
        return Named(sides[1], sides[0])
    return Named("", text)


def is_name(text: str) -> bool:
    r"""Return whether a text names a value: `x_1`, `f(x)`, `\angle ABC`, `(p, q)`, `\text{Area}`."""
    fraction = _NAME_FRACTION.fullmatch(text)
    if fraction:
        return is_name(fraction[1]) and is_name(fraction[2])
    return _LETTER.search(text) is not None and _NAME.fullmatch(text) is not None


def same_name(gold: str, answer: str) -> bool:
    """Return whether two names can be of one value: names of functions and words may differ, variables may not."""
    one, other = (re.sub(r"[\s{}]|\\text", "", name) for name in (gold, answer))
    if one == other:
        return True
    kinds = [re.fullmatch(r"\\?[a-zA-Z]+\(.*\)|y'?|[A-Za-z]{4,}.*", name) is not None for name in (one, other)]
    return all(kinds) or any(len(name) > 3 and name.isalpha() for name in (one, other))


def with_variable_of(given: Named, name: str) -> str:
    """Return the value of a function with the variable that another name has: `f(t) = 2t` as `2x` for `f(x)`."""
    expected, used = _VARIABLE.fullmatch(name), _VARIABLE.fullmatch(given.name)
    if not expected or not used or expected[1] == used[1]:
        return given.value
    swapped = {used[1]: expected[1], expected[1]: used[1]}
    return _SYMBOL.sub(lambda match: swapped.get(match[0], match[0]), given.value)


def same_equation(gold: str, answer: str) -> bool | None:
    """Compare two equations or inequalities, equal if their differences are proportional; None if one is neither."""
    relations = [splitting.relation(text) for text in (gold, answer)]
    if any(len(signs) != 1 for _, signs in relations):
        return None
    (gold_sides, (gold_sign,)), (sides, (sign,)) = relations
    try:
        difference, other = (_value(left) - _value(right) for left, right in (gold_sides, sides))
    except (NotAnExpressionError, TypeError):
        return None
    if gold_sign not in _MIRRORED and not difference.has(AppliedUndef):
        # `y = 1/x` is `xy = 1`.
        difference, other = (sympy.fraction(sympy.together(each))[0] for each in (difference, other))
    factor = _quotient(difference, other)
    if factor is None:
        return False
    if gold_sign in _MIRRORED and factor < 0:
        return sign == _MIRRORED[gold_sign]
    return sign == gold_sign


def _quotient(one: Expr, other: Expr) -> Expr | None:
    """Return the quotient of two expressions if it is a constant, else None."""
    if one == other:
        return sympy.S.One
    if 0 in (one, other) or one.free_symbols != other.free_symbols:
        return None
    if any(sympy.count_ops(each) > _MOST_OPERATIONS or _degree(each) > _HIGHEST_DEGREE for each in (one, other)):
        return next((sympy.Integer(sign) for sign in (1, -1) if same_value(one, sign * other)), None)
    quotient = sympy.cancel(one / other)
    return quotient if quotient.is_number and quotient.is_real else None


def _degree(expression: Expr) -> int:
    return max((abs(int(each.exp)) for each in expression.atoms(sympy.Pow) if each.exp.is_Integer), default=1)


def _value(text: str) -> Expr:
    return readings(numerals.joined_groups(text))[0]
