r"""Splits cleaned answers (notation.py) at their top level: lists, tuples, relations, and both values of `\pm`.

String processing only. What is inside brackets, braces and environments is never split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rstitch_local.problems import numerals

RELATIONS = ("=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\equiv")
_TOKEN = re.compile(r"\\begin\s*\{|\\end\s*\{|\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING = frozenset(("(", "[", "{", r"\{", r"\lfloor", r"\lceil"))
_CLOSING = frozenset((")", "]", "}", r"\}", r"\rfloor", r"\rceil"))
_CONJUNCTION = re.compile(
    r",?\s*\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}\s*,?|,?\s*(?<![A-Za-z\\])(?:and|or|&)(?![a-z])\s*,?"
    r"|\\(?:land|lor|wedge|vee)(?![A-Za-z])"
)
_VECTOR = re.compile(
    r"[(\[]?\s*\\begin\s*\{(?:[pbBs]?(?:small)?matrix|array)\}(?:\s*\{[lcr|\s]*\})?((?:(?!\\begin).)*)\\end\s*\{\w+\}\s*[)\]]?",
    re.DOTALL,
)
_MOST_SIGNS = 4
_SIGN = re.compile(r"\\(pm|mp)(?![A-Za-z])")


class Bracketed(NamedTuple):
    """A tuple or an interval: its opening and closing bracket, and its parts."""

    brackets: str
    parts: list[str]


def split(text: str, *separators: str, grouped: bool = False) -> list[str]:
    """Split at separators (characters or commands) outside brackets; parts are stripped, empty parts stay."""
    parts, start = [], 0
    spans = numerals.group_spans(text) if grouped else []
    for token, position in _top_level(text):
        if token in separators and not any(first < position < last for first, last in spans):
            parts.append(text[start:position].strip())
            start = position + len(token)
    parts.append(text[start:].strip())
    return parts


def relation(text: str) -> tuple[list[str], list[str]]:
    r"""Return the sides of an equation or inequality, and the relations between them (`a < b \le c`)."""
    sides, signs, start = [], [], 0
    for token, position in _top_level(text):
        if token in RELATIONS:
            sides.append(text[start:position].strip())
            signs.append(token)
            start = position + len(token)
    return [*sides, text[start:].strip()], signs


def elements(text: str, *, grouped: bool = True) -> list[str]:
    """Return the elements of a list, separated by commas, semicolons, `and` or `or` outside brackets.

    Args:
        text: a cleaned text.
        grouped: whether the comma of `1,000` groups digits, rather than separates elements.
    """
    text = _CONJUNCTION.sub(", ", text)
    inner = in_braces(text)
    if inner is not None:
        text = inner
    groups = split(text, ";")
    nested = len(groups) > 1 and any(len(split(group, ",")) > 1 for group in groups)
    return [part for part in split(text, *((";",) if nested else (",", ";")), grouped=grouped) if part]


def in_braces(text: str) -> str | None:
    r"""Return the content of `\{...\}` or `{...}` around the whole text, else None."""
    for opening, closing in ((r"\{", r"\}"), ("{", "}")):
        if text.startswith(opening) and text.endswith(closing) and _closes_at_end(text):
            return text[len(opening) : len(text) - len(closing)].strip()
    return None


def bracketed(text: str, *, grouped: bool = False) -> Bracketed | None:
    """Return the brackets and parts of a tuple or an interval (`]1, 2[` as `(1, 2)`), else None.

    Args:
        text: a cleaned text.
        grouped: whether the comma of `1,000` groups digits, rather than separates parts.
    """
    if len(text) < 2 or text[0] not in "([]" or text[-1] not in ")][":
        return None
    inner = text[1:-1]
    if text[0] == "]" or text[-1] == "[":
        # French intervals: the brackets do not match, so nothing inside may have brackets.
        parts = re.split(";" if ";" in inner else ",", inner)
        if len(parts) != 2 or re.search(r"[][]", inner):
            return None
        brackets = ("[" if text[0] == "[" else "(") + ("]" if text[-1] == "]" else ")")
        return Bracketed(brackets, [part.strip() for part in parts])
    if not _closes_at_end(text):
        return None
    separators = (";",) if len(split(inner, ";")) > 1 else (",",)
    return Bracketed(text[0] + text[-1], [part for part in split(inner, *separators, grouped=grouped) if part])


def column(text: str) -> Bracketed | None:
    r"""Return the cells of a matrix with one row or one column (`\begin{pmatrix} 1 \\ 2 \end{pmatrix}`), else None."""
    match = _VECTOR.fullmatch(text)
    if match is None or ("&" in match[1] and r"\\" in match[1].rstrip("\\ ")):
        return None
    return Bracketed("()", [cell.strip() for cell in re.split(r"&|\\\\(?:\[[^\]]*\])?", match[1]) if cell.strip()])


def signed(text: str) -> list[str]:
    r"""Return the values of a text with `\pm`; `\mp` has the opposite sign of `\pm`, several `\pm` are independent."""
    signs = [match[1] for match in _SIGN.finditer(text)]
    if not signs or len(signs) > _MOST_SIGNS:
        return [text]
    if "mp" in signs:
        choices = [("+", "-"), ("-", "+")]
        return [_SIGN.sub(lambda match, pair=pair: pair[match[1] == "mp"], text) for pair in choices]  # type: ignore[misc]
    first = _SIGN.search(text)
    assert first is not None
    values = [text[: first.start()] + sign + text[first.end() :] for sign in "+-"]
    return [each for value in values for each in signed(value)]


def _top_level(text: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens outside all brackets, with their positions."""
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _CLOSING:
            depth -= 1
        elif token in _OPENING:
            depth += 1
        elif token.startswith(r"\begin"):
            # The brace of its name, which the name closes, and the environment, which the name after `\end` closes.
            depth += 2
        elif depth == 0 and not token.startswith(r"\end"):
            yield token, match.start()


def _closes_at_end(text: str) -> bool:
    """Return whether the last bracket closes the one that the text begins with."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in _OPENING:
            depth += 1
        elif match[0] in _CLOSING:
            depth -= 1
            if depth == 0:
                return match.end() == len(text)
    return False
