"""Completions of the command that is being typed, in a few lines above the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

_MAX_LINES = 6


class Hints(Static):
    """Matching commands; hidden if there are none."""

    DEFAULT_CSS = """
    Hints {
        height: auto; display: none; padding: 0 2; background: $panel; color: $text-muted;
        &.-shown { display: block; }
    }
    """

    def show(self, commands: Sequence[tuple[str, str]]) -> None:
        """Show usage and title of each command."""
        lines = [Content.assemble((f"{usage:<28}", "bold"), title) for usage, title in commands[:_MAX_LINES]]
        if len(commands) > _MAX_LINES:
            lines.append(Content(f"{len(commands) - _MAX_LINES} more: keep typing, or press F1"))
        self.update(Content("\n").join(lines))
        self.set_class(bool(commands), "-shown")
