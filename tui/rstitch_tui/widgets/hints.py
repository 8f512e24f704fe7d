"""The commands that begin like what is typed, in a few lines over the prompt.

Knows names and sentences; nothing of what a command does.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

_MOST = 6


class Hints(Static):
    """Shown while there is something to hint at."""

    DEFAULT_CSS = """
    Hints {
        height: auto; display: none; padding: 0 2; background: $panel; color: $text-muted;
        &.-shown { display: block; }
    }
    """

    def show(self, found: Sequence[tuple[str, str]]) -> None:
        """Usage and title of each command, the likeliest first; none hides it."""
        lines = [Content.assemble((f"{usage:<28}", "bold"), title) for usage, title in found[:_MOST]]
        if len(found) > _MOST:
            lines.append(Content(f"{len(found) - _MOST} more: type on, or F1"))
        self.update(Content("\n").join(lines))
        self.set_class(bool(found), "-shown")
