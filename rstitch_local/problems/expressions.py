r"""Mathematical expressions in prose: where they begin and end, in plain text (`3/4`, `x = 5`) and in `$...$`.

String processing only; nothing is computed. Call it with the end of a text, not with megabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_NUMBER = (
    r"(?:\d{1,3}(?:(?:,|\{,\}|,\\!\s?|\\,)\d{3})+(?!\d)|\d{1,3}(?:[ \u00a0\u202f\u2009]\d{3})+(?![\d/])|\d+(?:,\d+)*)"
    r"(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?![\w.]))?|\.\d+"
)
_FUNCTIONS = "arcsin|arccos|arctan|sqrt|cbrt|sinh?|cosh?|tanh?|cot|sec|csc|log|ln|exp|pi|infinity|inf|max|min|binom"
_FUNCTION = re.compile(rf"(?:{_FUNCTIONS})(?![A-Za-z])")
_TOKEN = re.compile(
    rf"""(?P<span>\$\$(?:\\.|[^$\\]){{1,500}}\$\$|\\\[(?:\\[^\[\]]|[^\\]){{0,500}}?\\\]|\\\((?:\\[^()]|[^\\]){{0,500}}?\\\))
    |(?P<ordinal>\d+(?:st|nd|rd|th)(?!\w))
    |(?P<number>{_NUMBER})
    |(?P<currency>\\?[$€£¥])
    |(?P<command>\\(?:[A-Za-z]+|[^\s]))
    |(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*(?:\d+\w*)?)
    |(?P<operator>\*\*|(?<=\d)[ ]?:[ ]?(?=\d)|[-+*/^=<>≤≥±×·÷−–√π∞°!%()\[\]_{{}},])
    |(?P<space>[^\S\n]+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
# A pair of single dollars is mathematics unless it holds words, as in "$5 and then $6".
_DOLLARS = re.compile(r"(?<!\\)\$([^\s$](?:\\.|[^$\\\n])*|\s(?:\\.|[^$\\\n])*)\$(?!\d)")
_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mbox|operatorname|begin|end)\s*\{[^{}]*\}")
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$?|\\boxed(?![A-Za-z])|\\displaystyle(?![A-Za-z])")
_ARTICLES = ("a", "A", "I")
_LEADING = " \t,:;*/=)]}^_<>%!°"
_TRAILING = " \t,.:;*/=([{^_<>+-−–!"
# What follows these words is a label, not a value.
_LABELS = frozenset(
    ("step", "equation", "eq", "part", "case", "figure", "table", "method", "option", "question", "problem", "line",
     "section", "theorem", "lemma", "page", "example", "statement")
)  # fmt: skip
_IS = frozenset(("is", "are", "be", "either", "equals", "equal", "both"))
# Between a value and a number that only describes it: "clips in", "of".
_PHRASE = re.compile(
    r"(?:[^\S\n]+(?!(?:and|or|so|but|then|is|are|which|that|we)\b)[^\W\d_]+){0,9}?"
    r"[^\S\n]+(?:for|in|of|from|per|with|among|at|after|before|over|by|to)[^\S\n](?:[^\W\d_]+[^\S\n]+){0,3}"
)

_JOINT = re.compile(r"(,\s*(?:\$|\\\))?)?\s*\b(?:and|or)\s*\Z")


class Expression(NamedTuple):
    """An expression in a text.

    text: without delimiters, currency signs and what only separates it from the prose.
    start, end: its position.
    is_value: whether it holds a number, or more than one symbol; a single variable is rarely an answer.
    follows_is: whether a word such as "is" stands before it.
    """

    text: str
    start: int
    end: int
    is_value: bool
    follows_is: bool

    @property
    def may_be_list(self) -> bool:
        """Whether several values are likely one answer ("the roots are 3, 5")."""
        return self.follows_is or "=" in self.text


class _Token(NamedTuple):
    kind: str
    start: int
    end: int


def expressions(text: str, previous_word: str = "") -> list[Expression]:
    """Return the expressions of a text in its order; several joined by `and` or `or` are one, separated by commas.

    Args:
        text: the text.
        previous_word: the word before it.
    """
    tokens = list(_tokens(text))
    found: list[Expression] = []
    position = 0
    while position < len(tokens):
        end = position if tokens[position].kind == "space" else _end_of_run(text, tokens, position)
        if end > position:
            expression = _expression(text, tokens[position:end], previous_word)
            is_label = previous_word.lower() in _LABELS and tokens[position].kind == "number"
            if expression is not None and not is_label:
                _append(text, found, expression)
            previous_word = ""
            position = end
            continue
        token = tokens[position]
        if token.kind == "word":
            previous_word = text[token.start : token.end]
        elif text[token.start : token.end] == ":":
            previous_word = "is"
        position += 1
    return found


def last_value(text: str) -> str | None:
    """Return the last expression with a value, else the last formula; or None.

    In "the total is 72 clips in 3 boxes" it is 72. Of a list where none is likely ("in 2024, 5 people") the last
    element counts.
    """
    found = expressions(text)
    values = [each for each in found if each.is_value]
    if not values:
        # A single letter in prose is a word more often than a variable.
        values = [each for each in found if text[each.start] in "$\\"]
        if not values:
            return None
    chosen = len(values) - 1
    while "=" not in values[-1].text and chosen > 0 and _describes(text, values[chosen - 1], values[chosen]):
        chosen -= 1
    value = values[chosen] if values[chosen].may_be_list else values[-1]
    parts = elements(value.text)
    is_list = value.may_be_list and len({_variable_of(part) for part in parts}) == 1
    return result_of(", ".join(parts) if is_list else parts[-1])


def elements(expression: str) -> list[str]:
    """Return what commas outside brackets separate, if a space follows them (`1,250` and `(3, 4)` are one element)."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(expression):
        depth += (character in "([{") - (character in ")]}")
        if depth <= 0 and expression.startswith(", ", position):
            parts.append(expression[start:position])
            start = position + 2
    return [part for part in (*parts, expression[start:]) if part]


def _describes(text: str, value: Expression, number: Expression) -> bool:
    """Return whether a number after a value only describes it ("72 clips in 3 boxes")."""
    return _PHRASE.fullmatch(text, value.end, number.start) is not None


def _variable_of(equation: str) -> str | None:
    match = re.match(r"([A-Za-z]\w{0,3})\s*=", equation)
    return match[1] if match else None


def result_of(expression: str) -> str:
    r"""Return the last side of a calculation (`3 + 4 = 7`, `x = 2 \cdot 3 = 6`); equations (`2x = y`) stay whole."""
    if enclosed := re.fullmatch(r"\(([^()\[\],]*)\)", expression):
        return enclosed[1].strip()
    exact, *rounded = re.split(r"\\(?:approx|simeq)(?![A-Za-z])|≈", expression)
    if rounded:
        expression = exact if re.search(r"\d|\\(?:pi|sqrt|ln|log)(?![A-Za-z])|[π√]", exact) else rounded[-1]
    sides = [side.strip() for side in re.split(r"(?<![<>:=\\])=(?!=)", expression)]
    if len(sides) < 2 or not sides[-1] or re.search(r",\s|\\text|\\begin", expression):
        return expression.strip()
    if re.fullmatch(r"[A-Za-z]", sides[-1]):
        sides.pop()  # `36 - 19 = 17 = x`
    letters = re.sub(r"\\[A-Za-z]+|(?<=\d)\s*x\s*(?=\d)", " ", sides[0])
    return sides[-1] if len(sides) > 2 or not re.search(r"[A-Za-z]", letters) else expression.strip()


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        dollars = _DOLLARS.match(text, position)
        if dollars and _is_formula(dollars[1]):
            yield _Token("span", position, dollars.end())
            position = dollars.end()
            continue
        match = _TOKEN.match(text, position)
        assert match is not None
        assert match.lastgroup is not None
        yield _Token(match.lastgroup, position, match.end())
        position = match.end()


def _is_formula(content: str) -> bool:
    """Return whether the text between two dollars is mathematics, not the words between two prices."""
    symbols = re.sub(rf"\b(?:{_FUNCTIONS})\b", "", _TEXT.sub("", content))
    return not re.search(r"\s", content.strip()) or not _WORDS.search(symbols)


def _end_of_run(text: str, tokens: list[_Token], position: int) -> int:
    """Return the position after the tokens that belong to the expression that begins here."""
    depth = 0
    while position < len(tokens):
        token = tokens[position]
        if text[token.start] == "\n" or (depth == 0 and not _is_mathematical(text, tokens, position)):
            break
        if token.kind == "operator":
            depth += {"{": 1, "}": -1}.get(text[token.start], 0)
            if depth < 0:
                break
        position += 1
    return position


def _is_mathematical(text: str, tokens: list[_Token], position: int) -> bool:
    token = tokens[position]
    if token.kind != "word":
        return token.kind not in ("ordinal", "other")
    word = text[token.start : token.end]
    if _FUNCTION.fullmatch(word):
        return True
    if token.start > 0 and text[token.start - 1].isdigit():
        return len(word) <= 2  # `2x`, `3ab`
    if len(word) > 1 or text[token.end : token.end + 1] == "&":
        return False
    around = text[token.start - 1 : token.start].strip() + text[token.end : token.end + 1].strip()
    return word not in _ARTICLES or bool(re.search(r"[-+*/^_=()\d]", around)) or text[token.end :].startswith(" =")


def _expression(text: str, tokens: list[_Token], previous_word: str) -> Expression | None:
    while tokens and (tokens[-1].kind == "space" or text[tokens[-1].start] in ",="):
        tokens = tokens[:-1]
    kinds = {token.kind for token in tokens}
    if not kinds & {"span", "number", "command", "word"}:
        return None
    content = "".join(
        f" {text[token.start : token.end]} " if token.kind == "span" else text[token.start : token.end]
        for token in tokens
        if token.kind != "currency"
    )
    content = _balanced(" ".join(_DELIMITERS.sub(" ", content).split()).strip())
    content = content.replace("{,}", "").replace(r",\!", "")
    if not content:
        return None
    is_value = bool(re.search(r"\d|\\[A-Za-z]|[π∞]", content)) or ("span" in kinds and len(content) > 1)
    return Expression(content, tokens[0].start, tokens[-1].end, is_value, previous_word.lower() in _IS)


def _balanced(content: str) -> str:
    """Remove separators and unmatched brackets from both ends."""
    previous = None
    while previous != content:
        previous = content
        content = content.lstrip(_LEADING).rstrip(_TRAILING)
        opened, closed = (sum(map(content.count, brackets)) for brackets in ("([{", ")]}"))
        if closed > opened and content[-1:] in tuple(")]}"):
            content = content[:-1]
        elif opened > closed and content[:1] in tuple("([{"):
            content = content[1:]
    return content


def _append(text: str, found: list[Expression], expression: Expression) -> None:
    """Add an expression, or join it to the one before if only `and` or `or` stands between."""
    if found and found[-1].may_be_list and found[-1].is_value and expression.is_value:
        before = found[-1]
        joint = _JOINT.search(text, before.start, expression.start)
        same_variable = _variable_of(before.text) == _variable_of(expression.text)
        # After a comma, "or 0.5" is the same value again, unless there is a list before.
        if joint and same_variable and (not joint[1] or len(elements(before.text)) > 1):
            joined = f"{before.text}, {expression.text}"
            found[-1] = before._replace(text=joined, end=expression.end)
            return
    found.append(expression)
