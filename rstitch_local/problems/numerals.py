r"""Exact values of written numbers: separators, decimals, powers of ten, fractions, mixed numbers, number bases.

Independent of sympy; reads cleaned text (notation.py).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_LONGEST = 400
_NUMBER = r"[+-]?\s*(?:\d+\.?\d*|\.\d+)"
_EXPONENT = r"\^\s*(?:\{\s*([+-]?\d{1,3})\s*\}|\(\s*([+-]?\d{1,3})\s*\)|([+-]?\d{1,3}))"
_PLAIN = re.compile(rf"({_NUMBER})(?:\s*[eE]\s*([+-]?\d{{1,3}})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*{_EXPONENT})?")
_POWER = re.compile(rf"([+-]?)\s*10\s*{_EXPONENT}")
_QUOTIENT = re.compile(
    rf"({_NUMBER})\s*/\s*({_NUMBER})|([+-]?)\s*\\frac\s*\{{\s*({_NUMBER})\s*\}}\s*\{{\s*({_NUMBER})\s*\}}"
)
_MIXED = re.compile(r"([+-]?)\s*(\d+)(?:\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|\s+(?:and\s+)?(\d+)\s*/\s*(\d+))")

# Groups of three digits: `1,000`, `1{,}000`, `1 000`, `1'000`, `1_000`; several points: `1.000.000`.
_GROUPS = re.compile(
    r"(?<![\w.,'])\d{1,3}(?:(?:,\d{3})+|(?:\s?\{,\}\s?\d{3})+|(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)"
    r"(?![\d{]|[,'_]\d| \d{3}\b)"
)
_EUROPEAN = re.compile(r"(?<![\w.,])\d{1,3}(?:(?:\.\d{3})+,\d+|(?: \d{3})+,\d{1,2}|(?:\.\d{3}){2,})(?![\d.,])")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_SEPARATOR = re.compile(r"[\s,'_{}]+")

_REPEATING = re.compile(
    r"(?<![\d.])(\d*)\.(\d*)(?:\\(?:overline|bar|dot|widebar)\s*(?:\{\s*(\d+)\s*\}|(\d))|\((\d+)\))(?!\s*\\dot)(?:\s*\\ldots)?"
)
_DOTTED = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?")
# `0.333...` is 1/3: one digit three times, or several digits twice, before the dots.
_CONTINUED = re.compile(r"(?<![\d.])(\d+)\.(\d{0,12}?)(?:(\d)\3{2,}|(\d{2,12})\4+)\s*\\ldots(?!\s*[\w+,])")
_UNFINISHED = re.compile(r"(?<![\d.])(\d+\.\d+)\s*\\ldots(?!\s*[\w+,])")
# Three digits after the comma are thousands, unless a zero is before it.
_COMMA = re.compile(r"([+-]?(?:0|\d+(?=,(?!\d{3}\b)))),(\d+)(\s*%)?")

_BASE_NAMES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip
_BASE = re.compile(
    r"(-?)\(?([0-9A-Z]*[0-9][0-9A-Z]*)\)?\s*(?:_\s*\{?\s*(?:\\text\{)?\(?\s*(\d{1,2}|[a-z]+)\s*\)?\}?\s*\}?"
    r"|(?:\\text\{)?\s*\(?(?:in )?base[ -](\d{1,2}|[a-z]+)\)?\s*\}?)"
)


class Based(NamedTuple):
    """A number that is written in a named base, such as `2220_3`."""

    value: int
    base: int


def value(text: str) -> Fraction | None:
    """Return the exact value of a cleaned text that is one number, else None."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    text = joined_groups(text)
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    plain = _PLAIN.fullmatch(text)
    if plain:
        exponent = next((group for group in plain.groups()[1:] if group), "0")
        return _fraction(plain[1]) * Fraction(10) ** int(exponent)
    power = _POWER.fullmatch(text)
    if power:
        exponent = next(group for group in power.groups()[1:] if group)
        return (-1 if power[1] == "-" else 1) * Fraction(10) ** int(exponent)
    quotient = _QUOTIENT.fullmatch(text)
    if quotient:
        top, bottom = _fraction(quotient[1] or quotient[4]), _fraction(quotient[2] or quotient[5])
        return None if bottom == 0 else (-top if quotient[3] == "-" else top) / bottom
    return _mixed(text)


def based(text: str) -> Based | None:
    """Return the value and base of a cleaned text such as `2220_3`, else None."""
    match = _BASE.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        return None
    name = match[3] or match[4]
    base = int(name) if name.isdigit() else _BASE_NAMES.get(name, 0)
    if not 2 <= base <= 36:
        return None
    try:
        return Based((-1 if match[1] else 1) * int(match[2], base), base)
    except ValueError:
        # A digit that the base does not have.
        return None


def joined_groups(text: str) -> str:
    """Join groups of three digits (`1,000`, `1 000`), and write decimal commas that are certain as points."""
    text = _EUROPEAN.sub(lambda match: re.sub(r"[. ]", "", match[0]).replace(",", "."), text)
    return _DECIMAL_COMMA.sub(".", _GROUPS.sub(lambda match: _SEPARATOR.sub("", match[0]), text))


def group_spans(text: str) -> list[tuple[int, int]]:
    """Return where numbers with groups of three digits start and end."""
    return [match.span() for pattern in (_GROUPS, _EUROPEAN) for match in pattern.finditer(text)]


def with_repeating_decimals_as_fractions(text: str) -> str:
    r"""Replace decimals with a period (`0.\overline{3}`, `0.(3)`, `0.333\ldots`) with their fractions."""
    if "." not in text:
        return text
    text = _DOTTED.sub(lambda match: _periodic(match[1], match[2], match[3] + match[4] + match[5]), text)
    text = _REPEATING.sub(lambda match: _periodic(match[1], match[2], match[3] or match[4] or match[5]), text)
    text = _CONTINUED.sub(lambda match: _periodic(match[1], match[2], match[3] or match[4]), text)
    return _UNFINISHED.sub(r"\1", text)


def decimal_comma_as_point(text: str) -> str | None:
    """Return `1,5` as `1.5`; None for a text that is not one number with a decimal comma."""
    match = _COMMA.fullmatch(text.strip())
    return f"{match[1]}.{match[2]}{match[3] or ''}" if match else None


def _mixed(text: str) -> Fraction | None:
    match = _MIXED.fullmatch(text)
    if match is None:
        return None
    whole, top, bottom = int(match[2]), int(match[3] or match[5]), int(match[4] or match[6])
    if not top < bottom:
        # `2\\frac{3}{2}` is a product.
        return None
    total = whole + Fraction(top, bottom)
    return -total if match[1] == "-" else total


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(" ", ""))


def _periodic(whole: str, fixed: str, period: str) -> str:
    denominator = 10 ** len(fixed) * (10 ** len(period) - 1)
    numerator = int(whole + fixed + period or "0") - int(whole + fixed or "0")
    value = Fraction(numerator, denominator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)
