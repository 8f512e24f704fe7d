"""TeX split into tokens."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\s+|[^\\]", re.DOTALL)

# A comma belongs to the number if exactly three digits follow.
_NUMBER_PART = re.compile(r"\d|\.(?=\d)|,\d{3}(?!\d)")
_LONGEST_MATCH = 12


class UnsupportedError(Exception):
    """The source has something that cannot be shown faithfully as Unicode."""


class Tokens:
    """The tokens of a source: commands with their backslash, single characters, and runs of white space."""

    def __init__(self, source: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(source)
        if sum(map(len, self._tokens)) != len(source):
            raise UnsupportedError("a backslash at the end")
        self._position = 0

    def peek(self) -> str:
        """Return the next token after white space; "" at the end."""
        while self._position < len(self._tokens) and self._tokens[self._position].isspace():
            self._position += 1
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def peek_raw(self) -> str:
        """Return the next token, which may be white space; "" at the end."""
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def next(self) -> str:
        """Return the next token after white space, and move past it; raises UnsupportedError at the end."""
        token = self.peek()
        if not token:
            raise UnsupportedError("a missing argument")
        self._position += 1
        return token

    def skip(self, token: str) -> bool:
        """Move past the next token if it is this one."""
        found = self.peek() == token
        self._position += found
        return found

    def expect(self, token: str) -> None:
        """Move past a token; raises UnsupportedError if the next one is another."""
        if self.next() != token:
            raise UnsupportedError(f"no {token}")

    def raw_group(self) -> str:
        """Return the source of an argument in braces without them."""
        self.expect("{")
        start, depth = self._position, 1
        while depth:
            if self._position == len(self._tokens):
                raise UnsupportedError("an open brace")
            token = self._tokens[self._position]
            depth += (token == "{") - (token == "}")
            self._position += 1
        return "".join(self._tokens[start : self._position - 1])

    def skip_match(self, pattern: re.Pattern[str]) -> None:
        """Move past the next tokens if they match a pattern of single characters."""
        match = pattern.match("".join(self._tokens[self._position : self._position + _LONGEST_MATCH]))
        self._position += len(match[0]) if match else 0

    def digits(self) -> str:
        """Return the rest of a number: digits, a decimal point and separators of thousands (12,345.6)."""
        number = ""
        while match := _NUMBER_PART.match("".join(self._tokens[self._position : self._position + _LONGEST_MATCH])):
            number += match[0]
            self._position += len(match[0])
        return number
