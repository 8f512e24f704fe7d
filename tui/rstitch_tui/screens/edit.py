"""The dialog in which a message is edited."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Footer

from rstitch_local.sanitize import one_line
from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.widgets.editor import Editor


class EditScreen(Dialog[str | None]):
    """Returns the edited text, or None if the user cancels.

    Args:
        heading: title of the dialog.
        text: the text to edit.
    """

    # Enter inserts a new line, and only some terminals distinguish Ctrl-Enter from it.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+g,ctrl+enter", "continue", "Continue", id="edit_continue", tooltip="Continue with the edited text."
        ),
        Binding("escape", "cancel", "Cancel", id="edit_cancel", tooltip="Discard the changes."),
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
        with Vertical(classes="box") as box:
            box.border_title = Content(one_line(self._heading))
            yield Editor(self._text)
            with Horizontal(classes="buttons"):
                yield Button("Continue", id="continue", variant="primary")
                yield Button("Cancel", id="cancel", classes="quiet")
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Editor).focus()

    @on(Button.Pressed, "#continue")
    def action_continue(self) -> None:
        """Return the text, unless it is empty."""
        editor = self.query_one(Editor)
        if editor.text.strip():
            self.dismiss(editor.result)
        else:
            self.query_one(".box").border_subtitle = "The text is empty"

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        """Close the dialog; confirms first if the text was changed."""

        def confirmed(discard: bool | None) -> None:
            if discard:
                self.dismiss(None)

        if self.query_one(Editor).changed:
            self.app.push_screen(ConfirmScreen("Discard your changes?", "Discard", "Keep editing"), confirmed)
        else:
            self.dismiss(None)

    @on(Editor.Changed)
    def _changed(self) -> None:
        self.query_one(".box").border_subtitle = None
