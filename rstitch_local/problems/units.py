r"""Units of measurement and currencies: dimension and scale (`500 \text{ cm}` is `5 \text{ m}`)."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

Dimension = tuple[tuple[str, int], ...]
_PREFIXES = {"n": -9, "µ": -6, "u": -6, "m": -3, "c": -2, "d": -1, "k": 3, "M": 6, "G": 9, "T": 12}
_LONG_PREFIXES = {"nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1, "kilo": 3, "mega": 6, "giga": 9}
# Base units: metre, gram, second, ampere, kelvin, mole, dollar, and others that are not converted into each other.
_METRIC: dict[str, tuple[dict[str, int], Fraction | int]] = {
    "m": ({"m": 1}, 1), "g": ({"g": 1}, 1), "s": ({"s": 1}, 1), "A": ({"A": 1}, 1), "K": ({"K": 1}, 1),
    "mol": ({"mol": 1}, 1), "L": ({"m": 3}, Fraction(1, 1000)), "l": ({"m": 3}, Fraction(1, 1000)),
    "Hz": ({"s": -1}, 1),
    "N": ({"g": 1, "m": 1, "s": -2}, 1000), "J": ({"g": 1, "m": 2, "s": -2}, 1000),
    "W": ({"g": 1, "m": 2, "s": -3}, 1000), "Pa": ({"g": 1, "m": -1, "s": -2}, 1000), "V": ({"V": 1}, 1),
    "C": ({"A": 1, "s": 1}, 1), "eV": ({"eV": 1}, 1),
}  # fmt: skip
_LONG_METRIC = {
    "meter": "m", "metre": "m", "gram": "g", "second": "s", "liter": "L", "litre": "L", "joule": "J", "watt": "W",
    "newton": "N", "hertz": "Hz", "pascal": "Pa", "kelvin": "K", "mole": "mol", "volt": "V", "amp": "A", "ampere": "A",
}  # fmt: skip
_INCH = Fraction(254, 10_000)
_OTHER: dict[str, tuple[dict[str, int], Fraction | int]] = {
    "in": ({"m": 1}, _INCH), "inch": ({"m": 1}, _INCH), "inches": ({"m": 1}, _INCH),
    "ft": ({"m": 1}, 12 * _INCH), "foot": ({"m": 1}, 12 * _INCH), "feet": ({"m": 1}, 12 * _INCH),
    "yd": ({"m": 1}, 36 * _INCH), "yard": ({"m": 1}, 36 * _INCH), "mi": ({"m": 1}, 63_360 * _INCH),
    "mile": ({"m": 1}, 63_360 * _INCH), "lb": ({"lb": 1}, 1), "pound": ({"lb": 1}, 1),
    "oz": ({"lb": 1}, Fraction(1, 16)),
    "ounce": ({"lb": 1}, Fraction(1, 16)), "ton": ({"ton": 1}, 1), "sec": ({"s": 1}, 1), "min": ({"s": 1}, 60),
    "minute": ({"s": 1}, 60), "h": ({"s": 1}, 3600), "hr": ({"s": 1}, 3600), "hour": ({"s": 1}, 3600),
    "day": ({"s": 1}, 86_400), "week": ({"s": 1}, 604_800), "month": ({"month": 1}, 1), "year": ({"month": 1}, 12),
    "yr": ({"month": 1}, 12), "hectare": ({"m": 2}, 10_000), "ha": ({"m": 2}, 10_000),
    "mph": ({"m": 1, "s": -1}, 63_360 * _INCH / 3600), "kph": ({"m": 1, "s": -1}, Fraction(1000, 3600)),
    "kmh": ({"m": 1, "s": -1}, Fraction(1000, 3600)), "cc": ({"m": 3}, Fraction(1, 10**6)),
    "dollar": ({"$": 1}, 1), "$": ({"$": 1}, 1), "usd": ({"$": 1}, 1), "cent": ({"$": 1}, Fraction(1, 100)),
    "¢": ({"$": 1}, Fraction(1, 100)), "€": ({"€": 1}, 1), "euro": ({"€": 1}, 1),
    "£": ({"£": 1}, 1), "¥": ({"¥": 1}, 1),
    "yen": ({"¥": 1}, 1), "rupee": ({"₹": 1}, 1), "₹": ({"₹": 1}, 1),
    "celsius": ({"°C": 1}, 1), "fahrenheit": ({"°F": 1}, 1),
    "thousand": ({}, 1000), "million": ({}, 10**6), "billion": ({}, 10**9), "trillion": ({}, 10**12), "dozen": ({}, 12),
}  # fmt: skip
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_FACTOR = re.compile(
    r"(?:(square|sq|cubic|cu)\s+)?([A-Za-zµ]+|[$€£¥¢₹])\s*(?:\^\s*(-?\d+)|(squared|cubed)\b|(?<=[A-Za-z])(\d)\b)?"
)
_LATEX = (
    (re.compile(r"\\frac\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"), r"\1/\2"),
    (re.compile(r"\^\s*\{\s*(-?\d+)\s*\}"), r"^\1"),
    (re.compile(r"\^\s*\\circ\s*(?:\\text\s*\{\s*)?C\b"), " celsius "),
    (re.compile(r"\^\s*\\circ\s*(?:\\text\s*\{\s*)?F\b"), " fahrenheit "),
    (re.compile(r"\\text\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\mu(?![A-Za-z])\s*"), "µ"),
    (re.compile(r"\\(?:cdot|times)(?![A-Za-z])|[{}.,*·()]"), " "),
)


class Unit(NamedTuple):
    """A unit that is known: its dimension in base units, and its size in them."""

    dimension: Dimension
    scale: Fraction


def unit(text: str) -> Unit | None:
    r"""Return the unit that a cleaned text names (`\text{ km/h}`, `\text{cm}^2`, `$`), else None."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    dimension: dict[str, int] = {}
    scale = Fraction(1)
    for index, part in enumerate(re.split(r"/|\bper\b", text)):
        if _FACTOR.sub("", part).strip() or (index and not part.strip()):
            return None
        for match in _FACTOR.finditer(part):
            named = _named(match[2])
            if named is None:
                return None
            written = match[3] or match[5]
            power = int(written) if written else _POWERS.get(match[1] or match[4], 1)
            power *= -1 if index else 1
            for name, count in named[0].items():
                dimension[name] = dimension.get(name, 0) + power * count
            scale *= named[1] ** power
    return Unit(tuple(sorted((name, count) for name, count in dimension.items() if count)), scale)


def _named(word: str) -> tuple[dict[str, int], Fraction] | None:
    for name in (word, word.lower(), word.lower().removesuffix("s")):
        if name in _OTHER:
            return _OTHER[name][0], Fraction(_OTHER[name][1])
        for prefix, exponent in (("", 0), *_LONG_PREFIXES.items()):
            metric = _LONG_METRIC.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if metric is not None:
                return _METRIC[metric][0], Fraction(10) ** exponent * _METRIC[metric][1]
    for prefix, exponent in (("", 0), *_PREFIXES.items()):
        metric = word.removeprefix(prefix)
        if word.startswith(prefix) and metric in _METRIC:
            dimension, scale = _METRIC[metric]
            return dimension, Fraction(10) ** exponent * scale
    return None
