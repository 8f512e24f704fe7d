"""A text of the chat, opened to be changed.

Knows how to edit; nothing of what the text is to the chat, or what becomes of it.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Footer

from rstitch_local.sanitize import one_line
from rstitch_tui.screens.confirm import ConfirmScreen, Dialog
from rstitch_tui.widgets.editor import Editor


class EditScreen(Dialog[str | None]):
    """Lets the user change a text; gives back the new one, or None where it is left as it was.

    Args:
        heading: what the text is, and what is done with it.
        text: the text.
    """

    # Enter is a new line here, and Ctrl-Enter is told from it by some terminals only.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g,ctrl+enter", "go_on", "Go on", id="edit_go_on", tooltip="Go on with the text as it is now."),
        Binding("escape", "leave", "Leave", id="edit_leave", tooltip="Leave the text as it was."),
    ]

    DEFAULT_CSS = """
    EditScreen {
        & Editor { height: 1fr; border: none; padding: 0; background: $surface; &:focus { border: none; } }
        &.-tiny .buttons { display: none; }
    }
    """

    def __init__(self, heading: str, text: str) -> None:
        super().__init__()
        self._heading, self._text = heading, text

    def compose(self) -> ComposeResult:
        """The text, and what may be done with it."""
        with Vertical(classes="box") as box:
            box.border_title = Content(one_line(self._heading))
            yield Editor(self._text)
            with Horizontal(classes="buttons"):
                yield Button("Go on", id="go_on", variant="primary")
                yield Button("Leave", id="leave", classes="quiet")
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin in the text."""
        self.query_one(Editor).focus()

    @on(Button.Pressed, "#go_on")
    def action_go_on(self) -> None:
        """Give the text back."""
        editor = self.query_one(Editor)
        if editor.text.strip():
            self.dismiss(editor.result)
        else:
            self.query_one(".box").border_subtitle = "There is nothing to go on with"

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Leave; asks first where something was changed."""

        def answered(leave: bool | None) -> None:
            if leave:
                self.dismiss(None)

        if self.query_one(Editor).changed:
            self.app.push_screen(ConfirmScreen("Leave without what you changed?", "Leave", "Go on editing"), answered)
        else:
            self.dismiss(None)

    @on(Editor.Changed)
    def _changed(self) -> None:
        self.query_one(".box").border_subtitle = None
