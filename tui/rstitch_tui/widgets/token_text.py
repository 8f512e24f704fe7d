"""Tokens laid out in rows: which characters are whose, and in which row they stand.

Knows steps and rows of text; nothing of colours or widgets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import safe_text
from rstitch_tui.widgets.wrapping import WrappedText, joins_previous


class TokenText:
    """The text of a growing answer in rows, without characters that command a terminal.

    Attributes:
        steps: the tokens, in order.
    """

    def __init__(self, width: int = 80) -> None:
        self.steps: list[Step] = []
        # Index in the text of each token's first character.
        self._starts: list[int] = []
        self._wrapped = WrappedText(width)

    @property
    def width(self) -> int:
        """Cells a row may take."""
        return self._wrapped.width

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._wrapped.rows)

    @property
    def length(self) -> int:
        """Characters of the text."""
        return self._wrapped.length

    @property
    def text(self) -> str:
        """The text as it is shown, without the breaks between rows."""
        return "".join(self._wrapped.rows)

    def extend(self, steps: Sequence[Step]) -> int:
        """Add tokens; gives the first row that is not as it was."""
        pieces: list[str] = []
        length = self.length
        for step in steps:
            piece = safe_text(step.text)
            self._starts.append(length)
            pieces.append(piece)
            length += len(piece)
        self.steps += steps
        return self._wrapped.extend("".join(pieces))

    def wrap_to(self, width: int) -> bool:
        """Lay out in rows of another width; gives whether anything had to be done."""
        if width <= 0 or width == self.width:
            return False
        self._wrapped = self._wrapped.rewrapped(width)
        return True

    def span(self, index: int | None) -> tuple[int, int]:
        """Where a token's characters begin and end; one without any has the next one; (-1, -1) if there is no such."""
        if index is None or not 0 <= index < len(self._starts):
            return -1, -1
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.length
        return start, max(end, start + 1)

    def rows_of(self, span: tuple[int, int]) -> range:
        """The rows these characters stand in; none for (-1, -1)."""
        start, end = span
        if start < 0:
            return range(0)
        return range(self._wrapped.row_of(start), self._wrapped.row_of(end - 1) + 1)

    def parts(self, row: int) -> Iterator[tuple[int, int, str]]:
        """A row's tokens: index of each, where its part of the row begins in the text, and that part."""
        text, begin = self._wrapped.rows[row], self._wrapped.starts[row]
        end = begin + len(text)
        place = begin
        token = max(0, bisect_right(self._starts, begin) - 1)
        while place < end:
            until = min(end, self._starts[token + 1]) if token + 1 < len(self._starts) else end
            # What is drawn into the character before goes with that one's token.
            while place < until < end and joins_previous(text, until - begin):
                until += 1
            if until > place:
                yield token, place, text[place - begin : until - begin]
                place = until
            token += 1
