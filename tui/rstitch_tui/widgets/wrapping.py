"""A growing text cut into rows of terminal cells, at a cost that does not grow with it.

Knows characters and their widths as Rich measures them; nothing of tokens, colours or widgets.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from rich.cells import cell_len, get_character_cell_size

TAB_CELLS = 4
LINE_ENDS = "\n\u2028\u2029"
LONGEST_ROW = 1000
"""Characters a row may have: marks that take no cell, and white space at the end, could go on for ever."""

_JOINER = "\u200d"
# Words and gaps of ASCII, the bulk of most answers, are taken whole; anything else character by character.
_UNITS = re.compile(r"[!-~]{1,256}| {1,256}|[^!-~ ]")
# Chinese and Japanese break between any two characters, but a row does not begin with one of these.
_NEVER_FIRST = frozenset("、。，．・：；？！）］｝〉》」』】〕’”…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ")


class Wrapping:
    """The rows of a text that is given in pieces; any pieces give the rows of the whole.

    Every character stands in exactly one row, in order: the rows joined are the text. A row takes at most `width`
    cells, white space at its end not counted, for that hangs over; only a character that is wider than a row
    stands in one all the same. Rows break after white space and beside wide characters, within a word only where
    it is longer than a row, and never within characters that are drawn as one. A line end belongs to the row it
    ends, so that there is no row after the last one.

    Attributes:
        width: cells a row may take.
        rows: the text of each row.
        starts: index in the text of each row's first character.
        length: characters so far.
    """

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.rows: list[str] = []
        self.starts: list[int] = []
        self.length = 0

    def extend(self, text: str) -> int:
        """Add to the text; gives the first row that is not as it was."""
        self.length += len(text)
        first = len(self.rows)
        if not text:
            return first
        start = self.length - len(text)
        if self.rows:
            # How a row breaks depends on nothing before it, so the last one is simply done again.
            first -= 1
            start, text = self.starts.pop(), self.rows.pop() + text
        place = 0
        while place < len(text):
            end = _row_end(text, place, self.width)
            self.rows.append(text[place:end])
            self.starts.append(start + place)
            place = end
        return first

    def rewrapped(self, width: int) -> Wrapping:
        """The same text in rows of another width."""
        other = Wrapping(width)
        other.extend("".join(self.rows))
        return other

    def row_of(self, index: int) -> int:
        """The row in which the character of this index stands; the last row for what is past the end."""
        return max(0, bisect_right(self.starts, index) - 1)


def continues(text: str, index: int) -> bool:
    """Whether this character is drawn into the one before it."""
    return get_character_cell_size(text[index]) == 0 or text[index - 1 : index] == _JOINER


def drawn(text: str, column: int, width: int) -> str:
    """A part of a row as it is drawn from this column on: tabs as blanks, a line end as one where there is room."""
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
    """Where the row that begins at `start` ends."""
    cells = 0
    # Where the row may be broken (`start`: nowhere yet), and where the last character with its marks begins.
    break_at = cluster = start
    base = ""
    beside_wide = False
    for match in _UNITS.finditer(text, start):
        at, end = match.span()
        first = text[at]
        if end - start > LONGEST_ROW:
            return at
        if first in LINE_ENDS:
            return end
        if first in " \t":
            cells += end - at if first == " " else TAB_CELLS - cells % TAB_CELLS
            break_at, cluster, base, beside_wide = end, end - 1, first, False
            continue
        if "!" <= first <= "~":
            break_at = at if beside_wide else break_at
            if cells + end - at > width:
                return break_at if break_at > start else at + max(0, width - cells)
            cells += end - at
            cluster, base, beside_wide = end - 1, text[end - 1], False
            continue
        size = get_character_cell_size(first)
        if at > start and (size == 0 or text[at - 1] == _JOINER):
            # Some marks make what they belong to wider; the joiner makes two characters one.
            glue = _JOINER if size else ""
            grown = cell_len(base + glue + first) - cell_len(base) if base else size
            cells += grown
            break_at = end if break_at == at else break_at
            if grown > 0 and cells > width and cluster > start:
                return break_at if start < break_at <= cluster else cluster
            continue
        if at > start and (beside_wide or size > 1) and first not in _NEVER_FIRST:
            break_at = at
        if cells + size > width and at > start:
            return break_at if break_at > start else at
        cells += size
        cluster, base, beside_wide = at, first, size > 1
    return len(text)
