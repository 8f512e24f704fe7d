"""The text of tokens wrapped into rows, with the token of every character.

Independent of colors and widgets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import safe_text
from rstitch_tui.widgets.wrapping import WrappedText, joins_previous


class TokenSpan(NamedTuple):
    """A token's characters in a row."""

    token: int
    """Index of the token."""
    start: int
    """Index in the whole text of the first character."""
    text: str


class TokenText:
    """The text of a growing answer in rows, without control characters.

    Attributes:
        steps: the tokens in order.
    """

    def __init__(self, width: int = 80) -> None:
        self.steps: list[Step] = []
        # Index in the text of each token's first character.
        self._starts: list[int] = []
        self._wrapped = WrappedText(width)

    @property
    def width(self) -> int:
        """Width of a row in cells."""
        return self._wrapped.width

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self._wrapped.rows)

    @property
    def length(self) -> int:
        """Length of the text in characters."""
        return self._wrapped.length

    @property
    def text(self) -> str:
        """The text without the breaks between rows."""
        return "".join(self._wrapped.rows)

    def extend(self, steps: Sequence[Step]) -> int:
        """Append tokens and return the index of the first changed row."""
        texts: list[str] = []
        length = self.length
        for step in steps:
            text = safe_text(step.text)
            self._starts.append(length)
            texts.append(text)
            length += len(text)
        self.steps += steps
        return self._wrapped.extend("".join(texts))

    def clear(self) -> None:
        """Remove all tokens."""
        self.steps, self._starts = [], []
        self._wrapped = WrappedText(self.width)

    def wrap_to(self, width: int) -> bool:
        """Change the width of the rows; return whether it was a different one."""
        if width <= 0 or width == self.width:
            return False
        self._wrapped = self._wrapped.rewrapped(width)
        return True

    def characters_of(self, index: int | None) -> range:
        """Return the indices of a token's characters, or of the next character if the token has no text.

        The range is empty if there is no such token.
        """
        if index is None or not 0 <= index < len(self._starts):
            return range(0)
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.length
        return range(start, max(end, start + 1))

    def rows_of(self, index: int | None) -> range:
        """Return the rows of a token; the range is empty if there is no such token."""
        characters = self.characters_of(index)
        if not characters:
            return range(0)
        return range(self._wrapped.row_of(characters[0]), self._wrapped.row_of(characters[-1]) + 1)

    def spans(self, row: int) -> Iterator[TokenSpan]:
        """Yield the tokens of a row. Characters that join the previous one belong to the span of that one."""
        text, row_start = self._wrapped.rows[row], self._wrapped.starts[row]
        row_end = row_start + len(text)
        start = row_start
        token = max(0, bisect_right(self._starts, row_start) - 1)
        while start < row_end:
            end = min(row_end, self._starts[token + 1]) if token + 1 < len(self._starts) else row_end
            while start < end < row_end and joins_previous(text, end - row_start):
                end += 1
            if end > start:
                yield TokenSpan(token, start, text[start - row_start : end - row_start])
                start = end
            token += 1
