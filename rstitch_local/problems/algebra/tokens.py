"""Tokens of an expression in LaTeX or plain text, and a cursor over them."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<begin>\\begin\s*\{\w+\*?\}(?:\s*[\[{][lcr|@\s]*[\]}])?)|(?P<end>\\end\s*\{\w+\*?\})|(?P<row>\\\\(?:\[[^\]]*\])?)"
    r"|(?P<number>\d+\.?\d*|\.\d+)|\\(?P<command>[A-Za-z]+)|(?P<letter>[A-Za-z])|(?P<mark>\\?\S)"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{\w+\*?\}")
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[a-z]{5,}|[A-Z][a-z]{3,})|\\text")


class NotAnExpressionError(ValueError):
    """The text is not one mathematical expression."""


class Token(NamedTuple):
    """A piece of the text: its kind (a group of `_TOKEN`), its text, and whether a space comes before it."""

    kind: str
    text: str
    spaced: bool


class Cursor:
    """Reads the tokens of a text one after another.

    Raises:
        NotAnExpressionError: the text contains words.
    """

    def __init__(self, text: str) -> None:
        if _WORD.search(_ENVIRONMENT.sub(" ", text)):
            raise NotAnExpressionError(text)
        self.tokens: list[Token] = []
        self.position = 0
        end = 0
        for match in _TOKEN.finditer(text):
            assert match.lastgroup is not None
            self.tokens.append(Token(match.lastgroup, match[match.lastgroup], match.start() > end))
            end = match.end()

    @property
    def at_end(self) -> bool:
        """Whether all tokens have been read."""
        return self.position >= len(self.tokens)

    @property
    def text(self) -> str:
        """The text of the next token; empty at the end."""
        return "" if self.at_end else self.tokens[self.position].text

    @property
    def kind(self) -> str:
        """The kind of the next token; empty at the end."""
        return "" if self.at_end else self.tokens[self.position].kind

    @property
    def spaced(self) -> bool:
        """Whether a space comes before the next token."""
        return not self.at_end and self.tokens[self.position].spaced

    def next(self) -> Token:
        """Read a token."""
        if self.at_end:
            raise self.error()
        self.position += 1
        return self.tokens[self.position - 1]

    def accept(self, *texts: str) -> bool:
        """Read the next token if it is one of the texts; return whether it was."""
        found = self.text in texts
        self.position += found
        return found

    def expect(self, text: str) -> None:
        """Read a token that must have this text."""
        if not self.accept(text):
            raise self.error()

    def signs(self) -> bool:
        """Read plus and minus signs; return whether together they are a minus."""
        negative = False
        while self.text in ("+", "-"):
            negative ^= self.next().text == "-"
        return negative

    def argument_text(self) -> str:
        """Read an argument as text: a braced group without its braces, or one token."""
        if not self.accept("{"):
            return self.next().text
        parts: list[str] = []
        while not self.accept("}"):
            parts.append(self.next().text)
        return "".join(parts)

    def digit(self) -> str | None:
        r"""Read one digit of a number (the arguments of `\frac12`); None if the next token is no number."""
        if self.kind != "number":
            return None
        digits = self.text
        if len(digits) == 1:
            self.position += 1
        else:
            self.tokens[self.position] = Token("number", digits[1:], spaced=False)
        return digits[0]

    def whole_number(self) -> int | None:
        """Read a whole number, with or without braces; otherwise return None, with some tokens read."""
        braced = self.accept("{")
        digits = self.text
        self.position += 1
        return int(digits) if digits.isdecimal() and self.accept("}") == braced else None

    def error(self) -> NotAnExpressionError:
        """Return the error for a text that cannot be read further."""
        return NotAnExpressionError(f"unexpected token {self.position}")
