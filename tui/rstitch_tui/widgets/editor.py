"""A text area that no control character gets into.

Knows text and its changes; nothing of what the text is for.
"""

from __future__ import annotations

from textual.content import Content
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

from rstitch_local.sanitize import safe_text


class Editor(TextArea):
    """A text area for words of strangers: what commands a terminal does not get in, by whatever way.

    Args:
        text: what is there at first, the cursor at its end.
        placeholder: what is shown while nothing is.
    """

    DEFAULT_CSS = """
    Editor {
        & .text-area--cursor-line { background: transparent; }
    }
    """

    def __init__(self, text: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(safe_text(text), id=id, placeholder=Content(placeholder), highlight_cursor_line=False)
        self.move_cursor(self.document.end)
        self._given, self._loaded = text, self.text

    @property
    def changed(self) -> bool:
        """Whether it is not what it was given."""
        return self.text != self._loaded

    @property
    def result(self) -> str:
        """The text; to the last character as it was given where nothing was changed."""
        return self.text if self.changed else self._given

    def render_line(self, y: int) -> Strip:
        """A row; nothing where a terminal leaves it no cell to draw in."""
        return super().render_line(y) if self.content_size.width > 0 else Strip([])

    def edit(self, edit: Edit) -> EditResult:
        """Typed, pasted or brought back: every change comes through here."""
        edit.text = safe_text(edit.text)
        return super().edit(edit)
