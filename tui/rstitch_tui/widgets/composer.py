"""The prompt: a text area in which Enter sends and Up recalls earlier messages.

Independent of chats and commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from rstitch_local.sanitize import safe_text
from rstitch_tui.keys import binding
from rstitch_tui.widgets.editor import Editor

_MAX_ROWS = 8


# The page keys scroll the conversation.
_EDITING = [made for made in Binding.make_bindings(Editor.BINDINGS) if made.key not in ("pageup", "pagedown")]


class Composer(Editor, inherit_bindings=False):
    """A text area that sends on Enter.

    Attributes:
        sent_messages: messages sent before, newest first.
        completions: whole texts that complete the text, and whether each can be sent as it is. Tab inserts the selected
            or first one; up and down select, and Enter takes the selected one.
    """

    # Some terminals do not distinguish Shift-Enter and Ctrl-Enter from Enter; all distinguish Ctrl-J.
    BINDINGS: ClassVar[list[BindingType]] = [*_EDITING, binding("newline"), binding("send")]

    DEFAULT_CSS = f"""
    Composer {{
        height: auto;
        min-height: 3;
        max-height: {_MAX_ROWS + 2};
        border: round $border-blurred;
        padding: 0 1;
        background: $background;
        &:focus {{ border: round $foreground 60%; }}
        & .text-area--cursor-line {{ background: transparent; }}
    }}
    """

    class Sent(Message):
        """The user sent a text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class CompletionSelected(Message):
        """The user selected a completion; `index` is None for none."""

        def __init__(self, index: int | None) -> None:
            super().__init__()
            self.index = index

    class Focused(Message):
        """The prompt got the focus."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, placeholder="Ask a question; / for commands")
        self.sent_messages: Sequence[str] = ()
        self.completions: Sequence[tuple[str, bool]] = ()
        self._selected: int | None = None
        # Index in the history; None while the user's own draft is shown.
        self._history_index: int | None = None
        self._draft = ""

    def on_focus(self) -> None:
        self.post_message(self.Focused())

    def set_text(self, text: str) -> None:
        """Replace the text and move the cursor to its end."""
        self.load_text(safe_text(text))
        self.move_cursor(self.document.end)

    def action_newline(self) -> None:
        """Insert a line break."""
        self.insert("\n")

    def action_send(self) -> None:
        """Send the text, or the selected completion, unless it is blank or lacks an argument."""
        if self._selected is not None:
            text, complete = self.completions[self._selected]
            self.set_text(text)
            if not complete:
                return
        if self.text.strip():
            text = self.text
            self._history_index = None
            self.load_text("")
            self.post_message(self.Sent(text))

    async def _on_key(self, event: events.Key) -> None:
        # Wrapped rows: the cursor moves through all rows of a long line before Up and Down change to the history.
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        last = self.wrapped_document.height - 1
        if (event.key == "up" and row == 0 and (self._select(-1) or self._recall(1))) or (
            event.key == "down" and row == last and (self._select(1) or self._recall(-1))
        ):
            event.stop()
            event.prevent_default()
        elif event.key == "tab" and self.completions:
            event.stop()
            event.prevent_default()
            self.set_text(self.completions[self._selected or 0][0])
        elif (
            (bound := self.screen.active_bindings.get(event.key)) is not None
            and bound.node is self
            and bound.binding.id in ("send", "newline")
        ):
            # Handle it before it bubbles up: text pasted right after Enter belongs to the next message.
            event.stop()
            event.prevent_default()
            await self.run_action(bound.binding.action)
        else:
            await super()._on_key(event)

    def set_completions(self, completions: Sequence[tuple[str, bool]]) -> None:
        """Set the completions of the present text; none is selected."""
        self.completions, self._selected = completions, None

    def _select(self, by: int) -> bool:
        """Select the completion below (1) or above (-1); returns whether there are completions to move in.

        While earlier messages are recalled, the keys stay with them.
        """
        if not self.completions or self._history_index is not None or (by < 0 and self._selected is None):
            return False
        index = (-1 if self._selected is None else self._selected) + by
        self._selected = None if index < 0 else min(index, len(self.completions) - 1)
        self.post_message(self.CompletionSelected(self._selected))
        return True

    def _recall(self, by: int) -> bool:
        """Show an older (1) or newer (-1) message; return whether there was one."""
        index = (-1 if self._history_index is None else self._history_index) + by
        if not -1 <= index < len(self.sent_messages) or (by < 0 and self._history_index is None):
            return False
        if self._history_index is None:
            self._draft = self.text
        self._history_index = None if index < 0 else index
        self.set_text(self._draft if index < 0 else self.sent_messages[index])
        return True
