r"""Normalization of the notation of answers: `\dfrac`, `\text{}`, spaces, currency, thousands separators.

String processing only, no algebra: answers that still differ can be equal.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ",
        "≥": r"\ge ", "√": r"\sqrt ", "°": r"^\circ ", "∪": r"\cup ", "±": r"\pm ", "£": "", "€": "",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    }
)  # fmt: skip
_UNICODE_ROOT = re.compile(r"√(\d+|[A-Za-z])")
# After another backslash, the backslash belongs to a line break (`\\\\`), not to a delimiter.
_MARKS = re.compile(r"(?<!\\)\\[()\[\]]|\$|\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![A-Za-z])|\*\*")
_NO_SPACE = re.compile(r"(?<!\\)\\!\s*")
_SPACES = re.compile(r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![A-Za-z])")
_WRAPPERS = re.compile(r"\\(?:text(?:bf|it|rm|sf|normal)?|math(?:rm|bf|it|sf|normal)|mbox|operatorname)\s*\{([^{}]*)\}")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\}|\d|\\pi)\s*(\{[^{}]*\}|\d|\\pi)")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d|[A-Za-z])(?![A-Za-z])")
_SINGLE_BRACED = re.compile(r"([_^])\{([^{}\\]|\\circ)\}")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\(?:degree|deg)(?![A-Za-z])")
_COMPARISONS = (
    (re.compile(r"\\(?:leqslant|leq)(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\(?:geqslant|geq)(?![A-Za-z])"), r"\\ge"),
)
_E_NOTATION = re.compile(r"(?<![\w.])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,3})(?!\w|\.\d)")
_NUMPY = re.compile(r"(?<![\w\\])np\.(?=[a-z])")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_MEMBERSHIP = re.compile(r"^[A-Za-z]\s*\\in(?![A-Za-z])\s*")

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PLAIN = re.compile(
    rf"({_NUMBER})(?:[eE]([+-]?\d{{1,3}})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{{?\s*([+-]?\d{{1,3}})\s*\}}?)?"
)
_POWER = re.compile(r"([+-]?)10\s*\^\s*\{?\s*([+-]?\d{1,3})\s*\}?")
_QUOTIENT = re.compile(rf"({_NUMBER})\s*/\s*({_NUMBER})|([+-]?)\s*\\frac\{{({_NUMBER})\}}\{{({_NUMBER})\}}")
# Letters directly after a number are variables (`6m`, `2ab`), unless they are set as text.
_TEXT_UNIT = (
    r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf)|mbox|operatorname)\s*\{[^{}\d=]*\}"
    r"\s*(?:\^\s*\{?-?\d\}?)?[\s/]*(?:\\cdot)?\s*"
)
_WORD_UNIT = r"(?:[A-Za-z]{3,}|[A-Za-z]{1,4}/[A-Za-z]{1,4}|[cmk]m|kg|ft|mi|lb|oz|hr)\.?(?:\^\{?\d\}?)?"
_UNIT = re.compile(rf"(?:\s*\\?%|(?:\s*{_TEXT_UNIT}){{1,4}}|(?:\s+{_WORD_UNIT}){{1,4}})$")
_VARIABLE = re.compile(r"(?<=[\d\s}])[A-Za-z]{1,3}$")
_LONGEST_NUMBER = 400


def clean(text: str) -> str:
    """Return the same LaTeX in a normalized spelling; spaces between words stay."""
    text = _UNICODE_ROOT.sub(r"\\sqrt{\1}", text).translate(_UNICODE)
    text = _NO_SPACE.sub("", text.replace(r"\$", ""))
    text = _MARKS.sub("", text)
    text = _SPACES.sub(" ", text)
    text = _FRACTIONS.sub(r"\\frac", text)
    text = _SHORT_FRACTION.sub(_spelled_fraction, text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _DEGREES.sub(" ", text)
    for pattern, spelling in _COMPARISONS:
        text = pattern.sub(spelling, text)
    return _MEMBERSHIP.sub("", text.strip()).strip().rstrip(".").strip()


def normal_form(text: str) -> str:
    """Return a string that is equal for answers that differ in spelling only; words in lower case."""
    text = _unwrapped(clean(text))
    text = _SINGLE_BRACED.sub(r"\1\2", text)
    text = re.sub(r"\s+", "", text)
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    word = re.fullmatch(r"\(?([A-Za-z]+)\)?", text)
    if word:
        return word[1].lower() if len(word[1]) > 1 else word[1]
    value = number(text)
    return str(value) if value is not None else text


def number(text: str) -> Fraction | None:
    r"""Return the exact value of a number (`1,250`, `4.5e33`, `4.5 \times 10^{33}`, `\frac{3}{4}`), else None."""
    text = _unwrapped(clean(text)).strip()
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    plain = _PLAIN.fullmatch(text)
    if plain:
        return Fraction(plain[1]) * Fraction(10) ** int(plain[2] or plain[3] or 0)
    power = _POWER.fullmatch(text)
    if power:
        return (-1 if power[1] == "-" else 1) * Fraction(10) ** int(power[2])
    quotient = _QUOTIENT.fullmatch(text)
    if quotient:
        top, bottom = Fraction(quotient[1] or quotient[4]), Fraction(quotient[2] or quotient[5])
        return None if bottom == 0 else (-top if quotient[3] == "-" else top) / bottom
    return None


def number_with_unit(text: str) -> tuple[Fraction, str] | None:
    r"""Return a number and its unit (`%`, `dollars`, `\text{ km/h}`, or empty), else None."""
    text = clean(text)
    value = number(text)
    if value is not None:
        return value, ""
    unit = _UNIT.search(text[-_LONGEST_NUMBER:])
    if unit is None:
        return None
    value = number(text[: len(text) - len(unit[0])])
    return None if value is None else (value, "%" if unit[0].strip().endswith("%") else unit[0].strip())


def for_algebra(text: str) -> str:
    r"""Return a normalized spelling for a LaTeX parser, with `4.5e33` as `4.5 \times 10^{33}`."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), clean(text))
    return _E_NOTATION.sub(r"\1 \\times 10^{\2}", _NUMPY.sub(r"\\", text))


def is_multiple_of_variable(text: str) -> bool:
    r"""Return whether the text is a number times a variable (`6m`, `\frac{3}{4} x`), which looks like a unit."""
    match = _VARIABLE.search(clean(text))
    return match is not None and number(clean(text)[: match.start()]) is not None


def elements(text: str) -> list[str]:
    r"""Return the elements of a list, separated by commas, semicolons, `and` or `or` outside brackets."""
    text = clean(text)
    text = re.sub(r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|,?\s+(?:and|or)\s+", ",", text)
    if text.startswith("\\{") and text.endswith("\\}") and _closes_at_end(text):
        text = text[2:-2]
    return [part for part in _split(text) if part]


class Bracketed(NamedTuple):
    """A tuple or an interval: its opening and closing bracket, and its parts."""

    brackets: str
    parts: list[str]


def bracketed(text: str) -> Bracketed | None:
    """Return the brackets and parts of a tuple or an interval, else None."""
    text = clean(text)
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]" or not _closes_at_end(text):
        return None
    return Bracketed(text[0] + text[-1], [part for part in _split(text[1:-1]) if part])


def _unwrapped(text: str) -> str:
    previous = None
    while previous != text:
        previous, text = text, _WRAPPERS.sub(r"\1", text)
    return text


def _spelled_fraction(match: re.Match[str]) -> str:
    top, bottom = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return rf"\frac{top}{bottom}"


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character in ",;" and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts


def _closes_at_end(text: str) -> bool:
    """Return whether the last character closes the bracket that the first one opens."""
    depth = 0
    for position, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                return position == len(text) - 1
    return False
