r"""Finds the formulas in a text: $x$, $$x$$, \(x\), \[x\], \begin{aligned} ... \end{aligned}, \boxed{x}.

One pass over the text, in linear time. What is between backticks is code, and "$5 and $10" are amounts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\\(?P<side>begin|end)\{(?P<environment>[A-Za-z]+\*?)\}|\\(?:[A-Za-z]+|.|$)|\$\$?|[{}]|`+", re.DOTALL
)
_CLOSINGS = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}
# Commands that are formulas without delimiters, with the number of their arguments.
_BARE = {r"\boxed": 1, r"\fbox": 1, r"\sqrt": 1, r"\frac": 2, r"\dfrac": 2, r"\tfrac": 2, r"\binom": 2}
_ARGUMENT = re.compile(r"(?:\[[^\[\]{}\\$]*\])?\{")
_SINGLE_DOLLAR = re.compile(r"(?:\\.|[^\\$])*", re.DOTALL)

_AMOUNT = re.compile(r"\d[\d.,]*(?:[kKmMbB]\b)?(?![\d\w^_{\\])")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_LONG_WORDS = re.compile(r"(?<![A-Za-z])[A-Za-z]?[a-z]{2,}(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]")
_OPERATORS = re.compile(r"[\d=<>+^_\\{}|]")


@dataclass(frozen=True)
class Span:
    """A formula in a text.

    Attributes:
        start: index of its first character, with the delimiters.
        end: index after its last character.
        body: the TeX without the delimiters.
        display: whether it is set in lines of its own.
        closed: False if the text ends before the formula does.
    """

    start: int
    end: int
    body: str
    display: bool
    closed: bool = True


class Scanner:
    """Finds the formulas of a text that is fed in pieces.

    A piece may end within a formula, but not within a delimiter or a pair of single dollars.

    Attributes:
        spans: the formulas that are closed.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._text = ""
        self._start = self._body_start = 0
        # What closes the formula that is open, "" for none; how often; and arguments of a command that follow.
        self._closing = self._opening = ""
        self._depth = self._arguments = 0

    @property
    def is_open(self) -> bool:
        """Whether the text ends within a formula."""
        return bool(self._closing)

    def feed(self, piece: str) -> None:
        """Continue with the next piece of the text."""
        position = len(self._text)
        self._text += piece
        while match := _TOKEN.search(self._text, position):
            position = self._close(match) if self._closing else self._open(match)

    def all_spans(self) -> list[Span]:
        """Return the formulas; the last one may be open."""
        if not self._closing:
            return self.spans
        return [*self.spans, Span(self._start, len(self._text), self._text[self._body_start :], False, closed=False)]

    def _open(self, match: re.Match[str]) -> int:
        token, end = match[0], match.end()
        if token[0] == "`":
            closing = re.compile(rf"(?<!`){token}(?!`)").search(self._text, end)
            return closing.end() if closing else end
        if token == "$":
            return self._single_dollar(match.start())
        if token in _CLOSINGS:
            self._begin(match.start(), end, token, _CLOSINGS[token])
        elif match["side"] == "begin":
            self._begin(match.start(), match.start(), token, rf"\end{{{match['environment']}}}")
            self._depth = 1
        elif token in _BARE and (argument := _ARGUMENT.match(self._text, end)):
            self._begin(match.start(), match.start(), token, "}")
            self._depth, self._arguments = 1, _BARE[token]
            return argument.end()
        return end

    def _begin(self, start: int, body_start: int, opening: str, closing: str) -> None:
        self._start, self._body_start, self._opening, self._closing = start, body_start, opening, closing

    def _close(self, match: re.Match[str]) -> int:
        token, end = match[0], match.end()
        if self._depth:
            self._depth += (token == ("{" if self._closing == "}" else self._opening)) - (token == self._closing)
            if not self._depth:
                return self._end_of_argument(end)
        elif token == self._closing:
            self._add(self._text[self._body_start : match.start()], end, display=token != r"\)")
        return end

    def _end_of_argument(self, end: int) -> int:
        if self._closing != "}" or self._arguments == 1:
            self._add(self._text[self._body_start : end], end, display=self._closing != "}")
        elif argument := _ARGUMENT.match(self._text, end):
            self._arguments, self._depth = self._arguments - 1, 1
            return argument.end()
        else:
            self._closing = ""
        return end

    def _add(self, body: str, end: int, *, display: bool) -> None:
        self._closing = ""
        if body.strip() and not (self._opening in _CLOSINGS and is_prose(body)):
            self.spans.append(Span(self._start, end, body, display))

    def _single_dollar(self, start: int) -> int:
        """Add the formula from a dollar to the next one, if it is one; return where to continue."""
        inside = _SINGLE_DOLLAR.match(self._text, start + 1)
        end = inside.end() if inside else start + 1
        body = self._text[start + 1 : end]
        before, after = self._text[max(0, start - 1) : start], self._text[end + 1 : end + 2]
        closed = self._text[end : end + 1] == "$" and after not in ("$", "{") and not after.isdigit()
        tight = bool(body) and not (before.isalnum() or body[0].isspace() or body[-1].isspace())
        if not closed or not tight or "`" in body or is_amount(body):
            return start + 1
        # $n$th, but not $HOME/bin:$PATH.
        if after.isalpha() and len(body) > 1 and not _OPERATORS.search(body):
            return start + 1
        self.spans.append(Span(start, end + 1, body, display=False))
        return end + 1


def is_prose(body: str) -> bool:
    r"""Return whether a text between delimiters is prose: \[Note\] and \(optional\) are escaped brackets."""
    return bool(_LONG_WORDS.search(body)) and not _OPERATORS.search(body)


def is_amount(body: str) -> bool:
    """Return whether the text after a dollar sign is an amount of money, or prose, up to another dollar sign."""
    if _COMMAND.search(body):
        return False
    if _AMOUNT.match(body) and _WORDS.search(body):
        return True
    return len(_LONG_WORDS.findall(body)) >= 2
