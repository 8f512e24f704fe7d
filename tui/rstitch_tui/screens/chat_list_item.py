"""A chat as an item of the list of chats."""

from __future__ import annotations

import time

from textual.content import Content
from textual.css.styles import RulesMap

from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.store.records import ChatRow
from rstitch_tui.widgets.reflowed_text import ReflowedText

_LONGEST_TITLE = 200
_NARROW = 60


def relative_time(seconds: float, now: float) -> str:
    """Return a past time relative to `now`, such as "5 min ago", "yesterday" or "9 Mar"."""
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


class ChatListItem(ReflowedText):
    """Title, number of messages and time of a chat; in search results also the matching text."""

    def __init__(self, row: ChatRow, now: float, *, with_match: bool) -> None:
        self._row, self._now = row, now
        self._with_match = with_match

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002
        # A constant: otherwise all items of the list would be laid out before the first is drawn.
        return 2 if self._with_match else 1

    def content(self, width: int) -> Content:
        row, when = self._row, relative_time(self._row.updated, self._now)
        if width < _NARROW:
            details = f" {row.messages} · {when}"
        else:
            details = f"  {row.messages} message{'s' if row.messages != 1 else ' '}  {when:>12}"
        title = Content(one_line(row.title, _LONGEST_TITLE) or "No title")
        title = title.truncate(max(1, width - len(details)), ellipsis=True, pad=True)
        first = title + Content.styled(details, "dim")
        if not self._with_match:
            return first
        before, match, after = (safe_text(part) for part in row.snippet)
        second = Content.assemble(("  ", ""), (before, "dim"), (match, "bold underline"), (after, "dim"))
        return Content("\n").join([first, second.truncate(width, ellipsis=True)])
