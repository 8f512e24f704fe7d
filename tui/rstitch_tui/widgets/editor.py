"""A text area that removes control characters."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

from rstitch_local.sanitize import safe_text, unix_lines

# Function keys belong to the chat and to the user's keymap.
_TEXT_AREA_BINDINGS = [made for made in Binding.make_bindings(TextArea.BINDINGS) if made.key not in ("f6", "f7")]


class Editor(TextArea, inherit_bindings=False):
    """A text area whose text has no control characters, however it is inserted.

    Args:
        text: the initial text; the cursor is at its end.
        placeholder: text shown while the area is empty.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*_TEXT_AREA_BINDINGS]

    DEFAULT_CSS = """
    Editor {
        & .text-area--cursor-line { background: transparent; }
    }
    """

    def __init__(self, text: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        initial = safe_text(unix_lines(text))
        super().__init__(initial, id=id, placeholder=Content(placeholder), highlight_cursor_line=False)
        self.move_cursor(self.document.end)
        self._original, self._initial = text, self.text

    @property
    def changed(self) -> bool:
        """Whether the user changed the text."""
        return self.text != self._initial

    @property
    def result(self) -> str:
        """The text; the original one with its control characters if it was not changed."""
        return self.text if self.changed else self._original

    def render_line(self, y: int) -> Strip:
        # TextArea fails if it has no width, as in a tiny terminal.
        return super().render_line(y) if self.content_size.width > 0 else Strip([])

    def edit(self, edit: Edit) -> EditResult:
        # Typing, pasting and undo all pass through here.
        edit.text = safe_text(unix_lines(edit.text))
        return super().edit(edit)
