"""The completions of the command that is being typed, as a list above the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

_ROWS = 6
_LABEL_CELLS = 28


class Hints(Static):
    """A list of completions of which one may be selected; hidden if there are none."""

    DEFAULT_CSS = """
    Hints {
        height: auto; display: none; padding: 0 2; background: $panel; color: $text-muted; text-wrap: nowrap;
        &.-shown { display: block; }
    }
    """

    def show(self, completions: Sequence[tuple[str, str]], selected: int | None = None) -> None:
        """Show label and explanation of each completion, with one of them selected or none."""
        self.set_class(bool(completions), "-shown")
        first = max(0, (selected or 0) - _ROWS + 1)
        lines = []
        for index, (label, title) in enumerate(completions[first : first + _ROWS], first):
            line = Content.assemble((f"{label:<{_LABEL_CELLS}}", "bold"), " ", title)
            lines.append(line.stylize("reverse") if index == selected else line)
        rest = len(completions) - first - _ROWS
        if rest > 0:
            lines.append(Content(f"{rest} more: keep typing, or ↓"))
        self.update(Content("\n").join(lines))
