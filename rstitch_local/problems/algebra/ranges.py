r"""Sets of real numbers in answers: intervals, unions, inequalities in one variable, `\mathbb{R} \setminus \{0\}`."""

from __future__ import annotations

import re
from typing import NamedTuple

import sympy
from sympy import Expr, Interval, Set

from rstitch_local.problems import numerals, splitting
from rstitch_local.problems.algebra.expressions import readings
from rstitch_local.problems.algebra.tokens import NotAnExpressionError
from rstitch_local.problems.algebra.values import same_value, without_applications

_REALS = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?|\\Re|(?:\\text\{\s*)?(?:the set of )?(?:all )?(?:real numbers|reals)\s*\}?",
    re.IGNORECASE,
)
_OR = re.compile(r"\\text\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z])|\\cup(?![A-Za-z])")
_AND = re.compile(
    r"\\text\{\s*,?\s*(?:and|but)\s*\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\(?:land|wedge)(?![A-Za-z])|\\cap(?![A-Za-z])"
)
_SET_BUILDER = re.compile(
    r"\\?\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\s*\{?\s*R\s*\}?)?\s*(?:\||:)\s*(.*?)\\?\}", re.DOTALL
)
_RELATIONAL = {
    "<": sympy.StrictLessThan,
    ">": sympy.StrictGreaterThan,
    r"\le": sympy.LessThan,
    r"\ge": sympy.GreaterThan,
    r"\ne": sympy.Unequality,
}
_MIRRORED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


class Range(NamedTuple):
    """A set of real numbers.

    Attributes:
        members: the set.
        variable: the variable of an inequality; None for intervals.
        certain: whether the notation can only mean a set; `(1, 2)` can be a point.
    """

    members: Set
    variable: sympy.Symbol | None
    certain: bool


def real_range(text: str) -> Range | None:
    """Return the set of real numbers that a cleaned text describes, else None."""
    text = text.strip()
    builder = _SET_BUILDER.fullmatch(text)
    if builder:
        return real_range(builder[2])
    if len(splitting.split(text, r"\setminus")) == 2:
        return _difference(*splitting.split(text, r"\setminus"))
    for pattern, union in ((_OR, True), (_AND, False)):
        parts = [part.strip(" ,") for part in pattern.split(text)]
        if len(parts) > 1:
            return _combined(parts, union, certain=r"\cup" in text or r"\cap" in text)
    if _REALS.fullmatch(text):
        return Range(sympy.S.Reals, None, certain=True)
    return _interval(text) or _inequalities(text)


def names_reals(text: str) -> bool:
    """Return whether a text means all real numbers."""
    return _REALS.fullmatch(text.strip()) is not None


def same_range(gold: Range, answer: Range, *, rounded: bool) -> bool:
    """Return whether two sets are equal, with a tolerance for decimal bounds."""
    if gold.variable is not None and answer.variable is not None and gold.variable != answer.variable:
        return False
    if gold.members == answer.members:
        return True
    pieces, unmatched = _pieces(gold.members), _pieces(answer.members)
    if pieces is None or unmatched is None or len(pieces) != len(unmatched):
        return False
    for piece in pieces:
        match = next((other for other in unmatched if _same_piece(piece, other, rounded)), None)
        if match is None:
            return False
        unmatched.remove(match)
    return True


def _same_piece(gold: Set, answer: Set, rounded: bool) -> bool:
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        return (
            (gold.left_open, gold.right_open) == (answer.left_open, answer.right_open)
            and same_value(gold.start, answer.start, rounded=rounded)
            and same_value(gold.end, answer.end, rounded=rounded)
        )
    if isinstance(gold, sympy.FiniteSet) and isinstance(answer, sympy.FiniteSet):
        return same_value(gold.args[0], answer.args[0], rounded=rounded)
    return bool(gold == answer)


def _pieces(members: Set) -> list[Set] | None:
    """Return the intervals and points of a set, else None."""
    pieces: list[Set] = []
    for part in members.args if isinstance(members, sympy.Union) else (members,):
        if isinstance(part, sympy.FiniteSet):
            pieces += [sympy.FiniteSet(point) for point in part]
        elif isinstance(part, Interval):
            pieces.append(part)
        else:
            return None
    return pieces


def _difference(left: str, right: str) -> Range | None:
    whole = real_range(left)
    inner = splitting.in_braces(right)
    removed = real_range(right) if inner is None else _points(inner)
    if whole is None or removed is None:
        return None
    return Range(whole.members - removed.members, whole.variable, certain=True)


def _combined(parts: list[str], union: bool, certain: bool) -> Range | None:
    """Return the union or intersection; unless `certain`, each part must be certain: `(1, 2) or (3, 4)` are points."""
    ranges = []
    for part in parts:
        inner = splitting.in_braces(part)
        found = real_range(part) if inner is None else _points(inner)
        if found is None or not (certain or found.certain):
            return None
        ranges.append(found)
    variables = {found.variable for found in ranges} - {None}
    if len(variables) > 1:
        return None
    sets = [found.members for found in ranges]
    members = sympy.Union(*sets) if union else sympy.Intersection(*sets)
    if not union and members is sympy.S.EmptySet:
        # "x < -1 and x > 2" names both parts of a solution.
        members = sympy.Union(*sets)
    return Range(members, variables.pop() if variables else None, certain=True)


def _points(text: str) -> Range | None:
    points = [_value(part) for part in splitting.split(text, ",")]
    return None if None in points else Range(sympy.FiniteSet(*points), None, certain=False)


def _interval(text: str) -> Range | None:
    bracketed = splitting.bracketed(text)
    if bracketed is None or len(bracketed.parts) != 2 or bracketed.brackets[0] not in "([":
        return None
    bounds = [bound for bound in map(_value, bracketed.parts) if bound is not None and bound.is_extended_real]
    if len(bounds) != 2:
        return None
    left_open, right_open = bracketed.brackets[0] == "(", bracketed.brackets[1] == ")"
    certain = left_open != right_open or any(bound.is_infinite for bound in bounds)
    if bounds[0].is_infinite or bounds[1].is_infinite:
        # `[-\infty, 2]` is a slip for `(-\infty, 2]`.
        left_open, right_open = left_open or bounds[0].is_infinite, right_open or bounds[1].is_infinite
    return Range(Interval(*bounds, left_open, right_open), None, certain)


def _inequalities(text: str) -> Range | None:
    parts = splitting.split(text, ",")
    if len(parts) > 1:
        return (
            _combined(parts, union=False, certain=False) if all(splitting.relation(part)[1] for part in parts) else None
        )
    sides, signs = splitting.relation(text)
    if not signs or any(sign not in _RELATIONAL for sign in signs):
        return None
    values = [_value(side) for side in sides]
    if any(value is None or not isinstance(value, Expr) for value in values):
        return None
    values = without_applications(*(value for value in values if value is not None))
    symbols = set().union(*(value.free_symbols for value in values))
    if len(symbols) != 1:
        return None
    (variable,) = symbols
    members: Set = sympy.S.Reals
    try:
        for left, sign, right in zip(values, signs, values[1:], strict=False):
            members &= _solutions(left, sign, right, variable)
    except (NotImplementedError, TypeError, ValueError):
        # sympy cannot solve every inequality.
        return None
    return Range(members, variable, certain=True)


def _solutions(left: Expr, sign: str, right: Expr, variable: sympy.Symbol) -> Set:
    if {left, right} == {sympy.oo, variable} or {left, right} == {-sympy.oo, variable}:
        return sympy.S.Reals
    relational = _RELATIONAL[sign](left, right)
    if relational in (sympy.true, sympy.false):
        return sympy.S.Reals if relational == sympy.true else sympy.S.EmptySet
    difference = left - right
    slope = difference.coeff(variable)
    if slope.is_number and not (difference - slope * variable).has(variable):
        # Much faster than sympy's general solver.
        bound = -(difference - slope * variable) / slope
        return _ray(sign if slope > 0 else _MIRRORED.get(sign, sign), bound)
    return relational.as_set()


def _ray(sign: str, bound: Expr) -> Set:
    if sign == r"\ne":
        return sympy.S.Reals - sympy.FiniteSet(bound)
    if sign in ("<", r"\le"):
        return Interval(-sympy.oo, bound, True, sign == "<")
    return Interval(bound, sympy.oo, sign == ">", True)


def _value(text: str) -> Expr | None:
    try:
        return readings(numerals.joined_groups(text))[0]
    except NotAnExpressionError:
        return None
