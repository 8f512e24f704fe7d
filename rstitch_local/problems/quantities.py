r"""Comparison of two quantities: an expression with a unit, a percent sign, a currency or a number base, or none.

Import this in the grading process only: it imports sympy.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

import sympy

from rstitch_local.problems import numerals
from rstitch_local.problems.algebra import calculus
from rstitch_local.problems.algebra.expressions import readings
from rstitch_local.problems.algebra.tokens import NotAnExpressionError
from rstitch_local.problems.algebra.values import close, same_value
from rstitch_local.problems.notation import without_text_marks
from rstitch_local.problems.units import unit

_DECIMAL = re.compile(r"\d\.\d|(?<!\d)\.\d")
_SCIENTIFIC = re.compile(r"\.\d+\s*(?:[eE][+-]?\d|(?:\\times|\\cdot|\*|x)\s*10\s*\^)")
_POWER = r"\s*(?:\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_TEXT_WORD = rf"\\text\s*\{{[^{{}}\d=]*\}}{_POWER}"
_TEXT_UNIT = rf"(?:\^\s*\\circ\s*)?{_TEXT_WORD}[\s/]*(?:\\cdot)?\s*"
_FRACTION_UNIT = rf"\\frac\s*\{{\s*{_TEXT_WORD}\s*\}}\s*\{{\s*(?:{_TEXT_WORD}\s*)+\}}\s*"
_SHORT_WORDS = "[nmckd]m|[mk]g|[kM]?Hz|mL|ft|mi|lb|oz|hr|yd|kW|MW|kJ|eV|Pa|kPa|mph"
_WORD = rf"(?:[A-Za-z]{{3,}}|[A-Za-z]{{1,4}}/[A-Za-z]{{1,4}}|{_SHORT_WORDS})\.?{_POWER}"
_UNIT = re.compile(
    rf"(?:\s*%|(?:\s*(?:{_FRACTION_UNIT}|{_TEXT_UNIT})){{1,4}}|(?:(?<=\d)|\s+)(?:{_SHORT_WORDS})(?:\^?[23])?(?:/[a-z]{{1,3}}{_POWER})?"
    rf"|(?:\s+{_WORD}){{1,4}}|\s*\^\s*\\circ\s*[CF]|\s*[€£¥¢₹])$"
)
_CURRENCY = re.compile(r"^([+-]?)\s*([$€£¥₹])\s*")
_ORDINAL = re.compile(r"(?<=\d)\s*(?:\^\s*\{?\s*)?(?:\\text\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?$")
_LONGEST_UNIT = 80


class Quantity(NamedTuple):
    """A value with its unit, as text; the unit is empty if there is none."""

    value: str
    unit: str


def same_quantity(gold: str, answer: str) -> bool | None:
    """Compare two cleaned texts as quantities; None if one is none. A unit may be left out, but not be wrong."""
    bases = numerals.based(without_text_marks(gold)), numerals.based(without_text_marks(answer))
    if bases[0] or bases[1]:
        return bases[0] == bases[1] or _in_base_ten(*bases, gold, answer)
    expected, given = quantity(gold), quantity(answer)
    factors = _factors(expected, given)
    if not factors:
        return False
    rounded = bool(_DECIMAL.search(gold) or _DECIMAL.search(answer))
    scientific = bool(_SCIENTIFIC.search(gold) or _SCIENTIFIC.search(answer))
    numbers = numerals.value(expected.value), numerals.value(given.value)
    if numbers[0] is not None and numbers[1] is not None:
        return any(
            numbers[0] == numbers[1] * factor
            or (rounded and close(numbers[0], numbers[1] * factor, scientific=scientific))
            for factor in factors
            if not _wrong_percent(expected, given, numbers[0], factor)
        )
    try:
        golds, answers = values(expected.value), values(given.value)
    except NotAnExpressionError:
        return None
    return any(
        same_value(
            one, other * sympy.Rational(factor.numerator, factor.denominator), rounded=rounded, scientific=scientific
        )
        for factor in factors
        for one in golds
        for other in answers
    )


def quantity(text: str) -> Quantity:
    """Split the unit off a cleaned text."""
    text = _ORDINAL.sub("", text.strip())
    currency = _CURRENCY.match(text)
    if currency:
        return Quantity(currency[1] + text[currency.end() :], currency[2])
    found = _UNIT.search(text[-_LONGEST_UNIT:])
    body = text[: len(text) - len(found[0])].strip() if found else ""
    if found is None or not body or body[-1] in "+-*/=^_\\(,":
        return Quantity(text, "")
    if not found[0].strip().startswith(("\\", "%", "^")) and numerals.value(body) is None:
        # Plain words are units after numbers only.
        return Quantity(text, "")
    return Quantity(body, found[0].strip())


def values(text: str) -> list[sympy.Expr]:
    """Return the possible values of a cleaned text.

    Raises:
        NotAnExpressionError: it is not an expression.
    """
    if calculus.needed(text):
        return calculus.readings(text)
    text = numerals.joined_groups(text)
    written = numerals.value(text)
    if written is None:
        return readings(text)
    number = sympy.Rational(written.numerator, written.denominator)
    if "e" not in text.lower():
        return [number]
    try:
        # `2e-3` is 0.002, or 2 times e, minus 3.
        return [number, *readings(text)]
    except NotAnExpressionError:
        return [number]


def _in_base_ten(gold: numerals.Based | None, answer: numerals.Based | None, gold_text: str, answer_text: str) -> bool:
    """Compare a number with a base and one without, which is in base ten."""
    if gold and answer:
        return False
    plain = numerals.value(answer_text if gold else gold_text)
    written = gold or answer
    return written is not None and written.base == 10 and plain == written.value


def _factors(expected: Quantity, given: Quantity) -> list[Fraction]:
    """Return the factors by which the given value may be multiplied; empty if the units contradict each other."""
    gold_percent, percent = expected.unit == "%", given.unit == "%"
    if gold_percent or percent:
        factors = [Fraction(1)]
        if gold_percent and not given.unit:
            factors.append(Fraction(100))
        if percent and not expected.unit:
            factors.append(Fraction(1, 100))
        return factors
    expected_unit, given_unit = unit(expected.unit) if expected.unit else None, unit(given.unit) if given.unit else None
    if expected_unit and given_unit:
        same = expected_unit.dimension == given_unit.dimension
        return [given_unit.scale / expected_unit.scale] if same else []
    for known, sign in ((expected_unit, -1), (given_unit, 1)):
        if known and not known.dimension:
            # A count, such as million, is part of the value.
            return [known.scale**sign]
    return [Fraction(1)]


def _wrong_percent(expected: Quantity, given: Quantity, gold: Fraction, factor: Fraction) -> bool:
    """If the gold answer is 50 (percent), 50% is correct; if it is 0.5, 0.5% is not."""
    return given.unit == "%" and expected.unit != "%" and factor == 1 and abs(gold) < 1
