"""Plain text of any length that may grow."""

from __future__ import annotations

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.token_view import TokenView


class PlainText(TokenView):
    """Wrapped text without colors. Growing costs the same however long the text is."""

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self.set_reactive(TokenView.colored, False)

    def set_text(self, text: str) -> None:
        """Replace the text; if it only grew, only its end is drawn."""
        if text.startswith(self.text):
            self.extend(as_steps(text[len(self.text) :]))
        else:
            self.show(as_steps(text))


def as_steps(text: str) -> list[Step]:
    """Return text that no model generated as steps."""
    return [Step(0, Role.SLM, 0, text, 0.0, 1.0, 0, 0.0)] if text else []
