"""Where the user types: several lines, Enter sends, Up brings back what was sent before.

Knows text and keys; nothing of chats or commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from rstitch_local.sanitize import safe_text
from rstitch_tui.keys import binding
from rstitch_tui.widgets.editor import Editor

_MOST_ROWS = 8


class Composer(Editor):
    """A text area that sends on Enter.

    Attributes:
        sent_before: what was sent before, newest first.
    """

    # Shift-Enter and Ctrl-Enter are told from Enter by some terminals only; Ctrl-J by all.
    BINDINGS: ClassVar[list[BindingType]] = [binding("newline"), binding("send")]

    DEFAULT_CSS = f"""
    Composer {{
        height: auto;
        min-height: 3;
        max-height: {_MOST_ROWS + 2};
        border: round $border-blurred;
        padding: 0 1;
        background: $background;
        &:focus {{ border: round $accent; }}
        & .text-area--cursor-line {{ background: transparent; }}
    }}
    """

    class Sent(Message):
        """The user wants this text sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Focused(Message):
        """The user types now."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, placeholder="Ask something; / for commands")
        self.sent_before: Sequence[str] = ()
        self.completion = ""
        """What Tab makes of the text; "" for nothing."""
        self._place: int | None = None
        self._draft = ""

    def on_focus(self) -> None:
        """Say that one types now."""
        self.post_message(self.Focused())

    def set_text(self, text: str) -> None:
        """Put a text there, the cursor at its end."""
        self.load_text(safe_text(text))
        self.move_cursor(self.document.end)

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def action_send(self) -> None:
        """Send what is there; nothing is sent of nothing."""
        if self.text.strip():
            text = self.text
            self._place = None
            self.load_text("")
            self.post_message(self.Sent(text))

    async def _on_key(self, event: events.Key) -> None:
        # Rows as they are seen: a long line that wraps is walked through before history is.
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        last = self.wrapped_document.height - 1
        if (event.key == "up" and row == 0 and self._walk(1)) or (
            event.key == "down" and row == last and self._walk(-1)
        ):
            event.stop()
            event.prevent_default()
        elif event.key == "tab" and self.completion:
            event.stop()
            event.prevent_default()
            self.set_text(self.completion)
        elif (
            (bound := self.screen.active_bindings.get(event.key)) is not None
            and bound.node is self
            and bound.binding.id in ("send", "newline")
        ):
            # At once and not when the key has bubbled up: what is pasted right after it belongs to the next message.
            event.stop()
            event.prevent_default()
            await self.run_action(bound.binding.action)
        else:
            await super()._on_key(event)

    def _walk(self, by: int) -> bool:
        """Go to an older (1) or newer (-1) text; whether there was one."""
        place = -1 if self._place is None else self._place
        place += by
        if not -1 <= place < len(self.sent_before) or (by < 0 and self._place is None):
            return False
        if self._place is None:
            self._draft = self.text
        self._place = None if place < 0 else place
        self.set_text(self._draft if place < 0 else self.sent_before[place])
        return True
