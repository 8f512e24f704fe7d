r"""Normalization of the notation of answers: Unicode, `\dfrac`, `\text{}`, spaces, currency, thousands separators.

String processing only, no algebra: answers that still differ can be equal.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rstitch_local.problems import numerals
from rstitch_local.problems.unicode_math import in_latex

_LONGEST = 5000
# `\command` that is not followed by a letter.
_NO_LETTER = r"(?![A-Za-z])"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_DOLLAR = re.compile(r"\\\$|\$")
# After another backslash, the backslash belongs to a line break (`\\\\`), not to a delimiter.
_DELIMITERS = re.compile(
    r"(?<!\\)\\[()\[\]]"
    rf"|\\(?:left|right|middle|[bB]igg?[lrm]?|(?:display|text|script)style|(?:no)?limits){_NO_LETTER}\.?"
)
_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])(.+?)(?<=[^\s*])\*\*(?![\w(\[{\\*])")
_STRAY_STARS = re.compile(r"^\*+\s*|\s*\*+$")
_QUOTES = re.compile(r"^([`'\"])(.*)\1$", re.DOTALL)
_BOX = re.compile(r"^\\f?box(?:ed)?\s*\{(.*)\}$", re.DOTALL)
_PYTHON_LIST = re.compile(r"""\[\s*(['"]).*\1\s*\]""", re.DOTALL)
# Text that was escaped twice; in a matrix, two backslashes end a row.
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z{}%])")
_FONT = re.compile(r"\\(?:math(?:bf|it|sf|cal|normal|scr)|boldsymbol|bm|pmb)(?![A-Za-z])\s*(?:\{([^{}]*)\}|([A-Za-z]))")
_TEXT = re.compile(
    rf"\\(?:text(?:bf|it|rm|sf|tt|md|up|normal)?|mathrm|mbox|hbox|operatorname\*?|emph){_NO_LETTER}"
    r"\s*(?:\{([^{}]*)\}|([A-Za-z]))"
)
# Text that stands for a number, a constant or a letter of its own.
_MATHEMATICAL_TEXT = re.compile(r"\s*([-+]?\d[\d.,]*|pi|\\pi)\s*")
_CONSTANTS = frozenset("ei")
_FUNCTION_NAME = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)|(?:sin|cos|tan|cot)h|ln|log|lg|exp|gcd|lcm|max|min|floor|ceil|det|arg|sgn"
)
_SHORT_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\}|\d|\\pi|[A-Za-z])\s*(\{[^{}]*\}|\d|\\pi|[A-Za-z])")
_OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d+|[A-Za-z])(?![A-Za-z])")
_SINGLE_BRACED = re.compile(r"([_^])\{([^{}\\]|\\circ)\}")
_TRAILING = re.compile(r"(?:[\s.,;:]|(?<!\\)\\)+$")
_MEMBERSHIP = re.compile(r"^[A-Za-z]\s*\\in(?![A-Za-z])\s*")
_PLAIN_NAMES = re.compile(
    r"(?<![\\A-Za-z])(?:(?:np|math|numpy|sympy)\.)?"
    r"(sqrt|cbrt|arcsin|arccos|arctan|asin|acos|atan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|abs|floor|ceil|"
    r"gcd|lcm|binom|pi|infinity|infty|inf|oo|theta|alpha|beta|gamma|lambda|phi|omega)(?![A-Za-z])"
)
_PLAIN_SPELLINGS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "infinity": "infty", "inf": "infty", "oo": "infty",
}  # fmt: skip

_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\!\s*", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\(?:q?quad|hspace\{[^{}]*\}|thinspace|enspace|,)(?![A-Za-z])", " "),
        (rf"\\(?:[dtc]frac|nicefrac|sfrac|xfrac|flatfrac){_NO_LETTER}", r"\\frac"),
        (rf"\\[dt]binom{_NO_LETTER}", r"\\binom"),
        (rf"\\(?:leqslant|leqq|leq){_NO_LETTER}|(?<![<>=])<=(?!>)", r"\\le "),
        (rf"\\(?:geqslant|geqq|geq){_NO_LETTER}|(?<![<>=])>=", r"\\ge "),
        (rf"\\(?:neq|not\s*=){_NO_LETTER}|\\not\s*=|!=", r"\\ne "),
        (rf"\\lt{_NO_LETTER}", "<"),
        (rf"\\gt{_NO_LETTER}", ">"),
        (rf"\\(?:[lr]vert|vert|mid){_NO_LETTER}", "|"),
        (rf"\\l(?:brace|\{{){_NO_LETTER}", r"\\{"),
        (rf"\\rbrace{_NO_LETTER}", r"\\}"),
        (rf"\\lbrack{_NO_LETTER}", "["),
        (rf"\\rbrack{_NO_LETTER}", "]"),
        (rf"\\langle{_NO_LETTER}", "("),
        (rf"\\rangle{_NO_LETTER}", ")"),
        (rf"\\(?:varnothing|empty){_NO_LETTER}", r"\\emptyset"),
        (rf"\\(?:infin|infinity){_NO_LETTER}", r"\\infty"),
        (rf"\\(?:simeq|cong|thickapprox){_NO_LETTER}", r"\\approx"),
        (rf"\\(?:ldots|cdots|dots[cbmio]?|hdots){_NO_LETTER}|\.\.\.+", r"\\ldots "),
        (r"\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:[pb]?mod|pod)(?![A-Za-z])|(?<![A-Za-z\\])mod(?![A-Za-z])", r"\\pmod "),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\(?:degree|degrees|deg)(?![A-Za-z])", r"^\\circ "),
        (
            r"\\text\{\s*(?:percent|per cent|percentage|pct)\.?\s*\}|(?<=[\d})\s])(?:percent(?:age)?|per cent|pct)\b",
            "%",
        ),
        (r"\\text\{\s*degrees?\s*\}|(?<=\d)\s+degrees?\b", r"^\\circ "),
        (r"\\%", "%"),
        (r"\*\*", "^"),
    )
)


def clean(text: str) -> str:
    r"""Return the same LaTeX in a normalized spelling; spaces between words stay, `$` is the currency.

    A text of more than 5,000 characters is only stripped, because some patterns take quadratic time.
    """
    if len(text) > _LONGEST:
        return text.strip()
    text = in_latex(_CONTROL.sub("", text).strip())
    if r"\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _DOLLAR.sub(lambda match: "$" if len(match[0]) == 2 else "", text)
    text = _DELIMITERS.sub("", text).strip()
    text = _STRAY_STARS.sub("", _BOLD.sub(r"\1", text))
    for wrapped in (_QUOTES, _BOX):
        match = wrapped.match(text)
        if match:
            text = match[match.lastindex or 0].strip()
    if _PYTHON_LIST.fullmatch(text):
        text = re.sub(r"['\"]", "", text[1:-1])
    text = _FONT.sub(lambda match: match[1] or match[2] or "", text)
    text = _TEXT.sub(_without_wrapper, text)
    for pattern, replacement in _SUBSTITUTIONS:
        text = pattern.sub(replacement, text)
    text = _PLAIN_NAMES.sub(lambda match: f"\\{_PLAIN_SPELLINGS.get(match[1], match[1])} ", text)
    text = numerals.with_repeating_decimals_as_fractions(text)
    text = _OVER.sub(r"\\frac{\1}{\2}", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = _SHORT_FRACTION.sub(_spelled_fraction, text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _MEMBERSHIP.sub("", text.strip()).removeprefix("=")
    return _TRAILING.sub("", text).strip()


def normal_form(text: str) -> str:
    """Return a string that is equal for answers that differ in spelling only; words in lower case."""
    return spelling(clean(text))


def spelling(text: str) -> str:
    """Return the normal form of a cleaned text."""
    text = without_text_marks(text).strip().removeprefix("$")
    value = numerals.value(text.removesuffix(r"^\circ"))
    if value is not None:
        return str(value)
    text = _SINGLE_BRACED.sub(r"\1\2", text)
    # The spaces between digits stay: `3 5` is not 35, and `20 1/2` is not `201/2`.
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)
    word = re.fullmatch(r"\(?([A-Za-z]+)\)?", text)
    if word:
        # Two letters can be a product: `XY` is not `xy`.
        return word[1].lower() if len(word[1]) > 2 else word[1]
    return text


def number(text: str) -> Fraction | None:
    r"""Return the exact value of a number (`1,250`, `4.5e33`, `4.5 \times 10^{33}`, `2\frac{3}{4}`), else None."""
    return numerals.value(without_text_marks(clean(text)))


def without_text_marks(text: str) -> str:
    r"""Replace each `\text{...}` of a cleaned text with its content."""
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", text)


def _without_wrapper(match: re.Match[str]) -> str:
    content = match[1] if match[1] is not None else match[2]
    bare = content.strip()
    if _MATHEMATICAL_TEXT.fullmatch(content):
        return bare
    if _FUNCTION_NAME.fullmatch(bare):
        return f"\\{bare} "
    if len(bare) == 1 and (bare in _CONSTANTS or match[0] == match.string):
        return bare
    return rf"\text{{{content}}}"


def _spelled_fraction(match: re.Match[str]) -> str:
    top, bottom = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return rf"\frac{top}{bottom}"
