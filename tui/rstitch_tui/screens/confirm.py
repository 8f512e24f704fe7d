"""A question with two buttons."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.screens.dialog import Dialog


class ConfirmScreen(Dialog[bool]):
    """Returns True for the first button, False for the second button and for Esc.

    Args:
        question: the question to show.
        yes: label of the first button.
        no: label of the second button.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "No", show=False, id="confirm_no"),
        Binding("left,up", "app.focus_previous", "Other button", show=False),
        Binding("right,down", "app.focus_next", "Other button", show=False),
    ]

    DEFAULT_CSS = """
    ConfirmScreen {
        & > .box, &.-tiny > .box, &.-tall > .box {
            width: auto; min-width: 40; max-width: 60; height: auto; border: round $primary;
        }
        & .question { width: 100%; padding: 1 1; }
        & .buttons { width: 100%; }
        &.-tiny .question { padding: 0 1; }
    }
    """

    def __init__(self, question: str, yes: str, no: str) -> None:
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(Content(safe_text(self._question)), classes="question")
            with Horizontal(classes="buttons"):
                yield Button(Content(one_line(self._yes, 30)), id="yes", variant="primary")
                yield Button(Content(one_line(self._no, 30)), id="no", classes="quiet")

    def on_mount(self) -> None:
        # A stray Enter must not confirm something that cannot be undone.
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
