"""A one-line input that accepts no control characters."""

from __future__ import annotations

from textual.widgets import Input

from rstitch_local.sanitize import safe_text, unix_lines


class LineInput(Input):
    """A compact input of one line."""

    DEFAULT_CSS = """
    LineInput {
        background: $panel;
        &.-textual-compact { padding: 0 1; }
        &:focus { background-tint: $foreground 10%; }
    }
    """

    def __init__(self, value: str = "", *, id: str, placeholder: str = "", max_length: int = 0) -> None:
        super().__init__(value, placeholder=placeholder, id=id, max_length=max_length, compact=True)

    def validate_value(self, value: str) -> str:
        # Typed, pasted and assigned text all passes through here.
        return safe_text(unix_lines(value)).replace("\n", " ")
