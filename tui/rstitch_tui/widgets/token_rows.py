"""Rows of tokens as they are drawn, built when first needed and cached."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from rstitch_tui.widgets.token_styles import TokenStyles
from rstitch_tui.widgets.token_text import TokenSpan, TokenText
from rstitch_tui.widgets.wrapping import LINE_ENDS, expand_whitespace

_MAX_CACHED = 512


class Look(NamedTuple):
    """How the tokens are drawn."""

    colored: bool
    """Whether models and entropies are shown."""
    tau: float | None
    """The entropy from which the tint has its full strength."""
    cursor: range
    """Characters with the cursor."""
    selection: range
    """Selected characters."""


class TokenRow(NamedTuple):
    """A drawn row; `tokens` are its tokens, `ends` the columns where they end."""

    strip: Strip
    ends: list[int]
    tokens: list[int]

    def token_at(self, column: int) -> int | None:
        """Return the index of the token at a column, or None."""
        place = bisect_right(self.ends, column)
        return self.tokens[place] if place < len(self.tokens) else None


class TokenRows:
    """The drawn rows of a text. The owner discards the rows whose text or look has changed."""

    def __init__(self, text: TokenText, styles: TokenStyles) -> None:
        self._text = text
        self._styles = styles
        self._cache: LRUCache[int, TokenRow] = LRUCache(_MAX_CACHED)

    def clear(self) -> None:
        """Discard all rows."""
        self._cache.clear()

    def discard(self, rows: Iterable[int]) -> None:
        """Discard some rows."""
        for row in rows:
            self._cache.discard(row)

    def get(self, y: int, look: Look) -> TokenRow:
        """Return a row, built with this look unless it is cached."""
        row = self._cache.get(y)
        if row is None:
            row = self._cache[y] = self.build(y, look)
        return row

    def build(self, y: int, look: Look) -> TokenRow:
        """Draw a row."""
        width = self._text.width
        segments: list[Segment] = []
        ends: list[int] = []
        tokens: list[int] = []
        column = 0
        for span in self._text.spans(y):
            for segment in self._segments(span, column, look):
                segments.append(segment)
                column += segment.cell_length
            ends.append(column)
            tokens.append(span.token)
        # The cursor is on a token without text at the end of the answer.
        after_text = bool(look.cursor) and look.cursor.start >= self._text.length
        if after_text and y == self._text.row_count - 1 and column < width:
            segments.append(Segment(" ", self._styles.cursor))
        return TokenRow(Strip(segments).adjust_cell_length(width, self._styles.plain), ends, tokens)

    def _segments(self, span: TokenSpan, column: int, look: Look) -> Iterator[Segment]:
        """Yield the segments of a token, more than one where the cursor or the selection starts or ends in it."""
        style = self._style(span, look)
        for start, text in _split(span, look.cursor, look.selection):
            piece_style = style
            if start in look.cursor:
                piece_style += self._styles.cursor
            if start in look.selection:
                piece_style += self._styles.selection
            drawn = expand_whitespace(text, column, self._text.width)
            if drawn:
                # The position in the text, from which Textual computes selections.
                segment = Segment(drawn, piece_style + Style.from_meta({"offset": (start, 0)}))
                column += segment.cell_length
                yield segment

    def _style(self, span: TokenSpan, look: Look) -> Style:
        if not look.colored:
            return self._styles.plain
        return self._styles.of_step(self._text.steps[span.token], look.tau, tint=span.text not in LINE_ENDS)


def _split(span: TokenSpan, *ranges: range) -> Iterator[tuple[int, str]]:
    """Split a span where one of the ranges starts or ends; yield start and text of each piece."""
    start, end = span.start, span.start + len(span.text)
    borders = {border for each in ranges if each for border in (each.start, each.stop) if start < border < end}
    for begin, stop in pairwise([start, *sorted(borders), end]):
        yield begin, span.text[begin - start : stop - start]
