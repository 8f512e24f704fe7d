"""Word wrap for a growing text: appending costs the same however long the text is.

Widths are those of Rich's `cell_len`, which Textual uses for layout. Independent of tokens, colors and widgets.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from rich.cells import cell_len, get_character_cell_size

TAB_CELLS = 4
LINE_ENDS = "\n\u2028\u2029"
MAX_ROW_CHARACTERS = 1000
"""Limit for rows of zero-width marks or trailing white space, which no width ends."""

_ZWJ = "\u200d"
# ASCII words and runs of spaces, the bulk of most answers, are measured whole; other characters one by one.
_UNITS = re.compile(r"[!-~]{1,256}| {1,256}|[^!-~ ]")
# Chinese and Japanese text may break between any two characters, but a row must not begin with one of these.
_NEVER_FIRST = frozenset("、。，．・：；？！）］｝〉》」』】〕’”…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ")


class WrappedText:
    """The rows of a text that is appended in pieces; how it is cut into pieces does not affect the rows.

    Every character is in exactly one row, so the rows joined are the text. A row is at most `width` cells wide, not
    counting white space at its end; only a character wider than `width` exceeds it. Rows break after white space and
    next to wide characters, within a word only if the word is longer than a row, and never within characters that
    are drawn as one. A line end belongs to the row it ends; it does not start an empty row after the last one.

    Attributes:
        width: width of a row in cells.
        rows: the text of each row.
        starts: index in the text of each row's first character.
        length: length of the text in characters.
    """

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.rows: list[str] = []
        self.starts: list[int] = []
        self.length = 0

    def extend(self, text: str) -> int:
        """Append text and return the index of the first changed row."""
        self.length += len(text)
        first = len(self.rows)
        if not text:
            return first
        start = self.length - len(text)
        if self.rows:
            # A row depends on no row before it: wrapping the last one again is enough.
            first -= 1
            start, text = self.starts.pop(), self.rows.pop() + text
        index = 0
        while index < len(text):
            end = _row_end(text, index, self.width)
            self.rows.append(text[index:end])
            self.starts.append(start + index)
            index = end
        return first

    def rewrapped(self, width: int) -> WrappedText:
        """Return the same text wrapped to another width."""
        other = WrappedText(width)
        other.extend("".join(self.rows))
        return other

    def row_of(self, index: int) -> int:
        """Return the row of the character at `index`; the last row for an index past the end."""
        return max(0, bisect_right(self.starts, index) - 1)


def joins_previous(row: str, index: int) -> bool:
    """Return whether the character at `index` of a row is drawn as one with the character before it."""
    if get_character_cell_size(row[index]) == 0:
        return True
    # A zero-width joiner joins the next character to the one before, unless it is itself joined by another joiner.
    before = row[:index]
    return (len(before) - len(before.rstrip(_ZWJ))) % 2 == 1


def expand_whitespace(text: str, column: int, width: int) -> str:
    """Return a part of a row with tabs as spaces, and a line end as one space if it is inside the width.

    Args:
        text: the part of the row.
        column: the column at which it is drawn.
        width: width of the row.
    """
    if text.isprintable():
        return text
    parts: list[str] = []
    for part in re.split(rf"([\t{LINE_ENDS}])", text):
        if part == "\t":
            part = " " * (TAB_CELLS - column % TAB_CELLS)
        elif part and part in LINE_ENDS:
            part = " " * (column < width)
        parts.append(part)
        column += cell_len(part)
    return "".join(parts)


def _row_end(text: str, start: int, width: int) -> int:
    """Return the end of the row that starts at `start`."""
    cells = 0
    # The last place where the row may break (`start`: none yet), and the start of the last character with its marks.
    break_at = cluster = start
    base = ""
    after_wide = joiner = False
    for match in _UNITS.finditer(text, start):
        at, end = match.span()
        first = text[at]
        # The row's own joiners only: Rich measures each row alone.
        joined, joiner = joiner, first == _ZWJ and not joiner
        if end - start > MAX_ROW_CHARACTERS:
            return at
        if first in LINE_ENDS:
            return end
        if first in " \t":
            cells += end - at if first == " " else TAB_CELLS - cells % TAB_CELLS
            break_at, cluster, base, after_wide = end, end - 1, first, False
            continue
        if "!" <= first <= "~":
            break_at = at if after_wide else break_at
            if cells + end - at > width:
                return break_at if break_at > start else at + max(0, width - cells)
            cells += end - at
            cluster, base, after_wide = end - 1, text[end - 1], False
            continue
        size = get_character_cell_size(first)
        if at > start and (size == 0 or joined):
            # A variation selector makes some characters wider.
            grown = 0 if joined else cell_len(base + first) - cell_len(base)
            cells += grown
            break_at = end if break_at == at else break_at
            if grown > 0 and cells > width and cluster > start:
                return break_at if start < break_at <= cluster else cluster
            continue
        if at > start and (after_wide or size > 1) and first not in _NEVER_FIRST:
            break_at = at
        if cells + size > width and at > start:
            return break_at if break_at > start else at
        cells += size
        cluster, base, after_wide = at, first, size > 1
    return len(text)
