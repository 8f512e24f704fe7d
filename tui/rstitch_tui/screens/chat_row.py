"""A chat as a line of the list of chats.

Knows how it is laid out; nothing of the store or of lists.
"""

from __future__ import annotations

import time

from textual.content import Content
from textual.css.styles import RulesMap

from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.screens.confirm import LaidOut
from rstitch_tui.store.records import ChatRow

_LONGEST_TITLE = 200
_NARROW = 60


def ago(seconds: float, now: float) -> str:
    """A moment of the past in a word or two."""
    minutes = (now - seconds) / 60
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes:.0f} min ago"
    then, today = time.localtime(seconds), time.localtime(now)
    if minutes < 24 * 60 and then.tm_yday == today.tm_yday:
        return f"{minutes / 60:.0f} h ago"
    if now - seconds < 48 * 3600 and time.localtime(now - 24 * 3600).tm_yday == then.tm_yday:
        return "yesterday"
    day = f"{then.tm_mday} {time.strftime('%b', then)}"
    return day if then.tm_year == today.tm_year else f"{day} {then.tm_year}"


class Row(LaidOut):
    """A chat in the list: its title, and when it was; under a search, where the words stand in it."""

    def __init__(self, row: ChatRow, now: float, *, searched: bool) -> None:
        self._row, self._now = row, now
        self._searched = searched

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002
        """The same for all rows of a list, so that none is laid out before it is drawn."""
        return 2 if self._searched else 1

    def content(self, width: int) -> Content:
        """The lines at a width."""
        row, when = self._row, ago(self._row.updated, self._now)
        if width < _NARROW:
            when = f" {row.messages} · {when}"
        else:
            when = f"  {row.messages} message{'s' if row.messages != 1 else ' '}  {when:>12}"
        title = Content(one_line(row.title, _LONGEST_TITLE) or "No title")
        title = title.truncate(max(1, width - len(when)), ellipsis=True, pad=True)
        lines = title + Content.styled(when, "dim")
        if not self._searched:
            return lines
        before, match, after = (safe_text(part) for part in row.snippet)
        found = Content.assemble(
            ("  ", ""), (before, "dim"), (match, "bold underline"), (after, "dim")
        )  # fmt: skip
        return Content("\n").join([lines, found.truncate(width, ellipsis=True)])
