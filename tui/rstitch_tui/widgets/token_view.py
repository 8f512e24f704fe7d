"""An answer token by token: the model that generated each, and its entropy.

Independent of models, chats and Markdown. Text is drawn literally, never as markup, and without control characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import events
from textual.content import Content
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.token_rows import Look, TokenRow, TokenRows
from rstitch_tui.widgets.token_styles import TokenStyles
from rstitch_tui.widgets.token_text import TokenText


class TokenView(Widget):
    """Tokens in the colors of their models, as high as the wrapped text.

    LLM tokens are underlined and in the accent color. The background is stronger the higher the entropy. A click on a
    token posts `Picked`; its tooltip has the details.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token-view--llm",
        "token-view--slm-tint",
        "token-view--llm-tint",
        "token-view--cursor",
    }
    DEFAULT_CSS = """
    TokenView {
        height: auto;
        & > .token-view--llm { color: $text-accent; text-style: underline; }
        & > .token-view--slm-tint { color: $primary; }
        & > .token-view--llm-tint { color: $accent; }
        & > .token-view--cursor {
            color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold;
        }
    }
    """

    cursor: reactive[int | None] = reactive[int | None](None, repaint=False)
    """Index of the highlighted token, which is scrolled into view."""
    colored: reactive[bool] = reactive(True)
    """Whether models and entropies are shown; otherwise it is plain text."""
    tau: reactive[float | None] = reactive[float | None](None)
    """The entropy from which the background has its full strength."""

    class Picked(Message):
        """A token was clicked."""

        def __init__(self, token_view: TokenView, index: int) -> None:
            super().__init__()
            self.token_view = token_view
            self.index = index

        @property
        def control(self) -> TokenView:
            return self.token_view

    def __init__(
        self,
        steps: Iterable[Step] = (),
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.auto_links = False
        self._text = TokenText()
        self._styles = TokenStyles(self)
        self._rows = TokenRows(self._text, self._styles)
        self._hovered: int | None = None
        self.extend(list(steps))

    @property
    def steps(self) -> Sequence[Step]:
        """The tokens."""
        return self._text.steps

    @property
    def text(self) -> str:
        """The text without the breaks between rows."""
        return self._text.text

    def extend(self, steps: Sequence[Step]) -> None:
        """Append tokens."""
        if not steps:
            return
        rows_before = self._text.row_count
        first = self._text.extend(steps)
        row_count = self._text.row_count
        # A cursor on a token without text is drawn on the cell after it, possibly in the row before.
        first = max(0, min(first, row_count - 1))
        self._rows.discard(range(first, row_count))
        if row_count == rows_before:
            self.refresh(Region(0, first, max(1, self.size.width), row_count - first))
        else:
            self.refresh(layout=True)

    def clear(self) -> None:
        """Remove all tokens."""
        self._text.clear()
        self._hovered = self.tooltip = None
        self.cursor = None
        self._redraw(layout=True)

    def show(self, steps: Iterable[Step]) -> None:
        """Replace the tokens."""
        steps = list(steps)
        self.clear()
        self.extend(steps)

    def token_at(self, x: int, y: int) -> int | None:
        """Return the index of the token in a cell of the content, or None."""
        if not (0 <= y < self._text.row_count and x >= 0):
            return None
        return self._row(y).token_at(x)

    # Layout and drawing

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        self._wrap_to(width)
        return self._text.row_count

    def _wrap_to(self, width: int) -> None:
        if self._text.wrap_to(width):
            self._rows.clear()

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        self._wrap_to(width)
        if self._styles.follow_background():
            self._rows.clear()
        if y >= self._text.row_count:
            return Strip.blank(width, self._styles.plain)
        return self._row(y).strip

    def _row(self, y: int) -> TokenRow:
        look = Look(self.colored, self.tau, self._text.characters_of(self.cursor), self._selected())
        return self._rows.get(y, look)

    def _redraw(self, *, layout: bool = False) -> None:
        self._rows.clear()
        self.refresh(layout=layout)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._rows.clear()

    def watch_colored(self) -> None:
        self._redraw()

    def watch_tau(self) -> None:
        self._redraw()

    # Cursor

    def watch_cursor(self, old: int | None, new: int | None) -> None:
        if not self.is_mounted:
            return
        for index in (old, new):
            rows = self._text.rows_of(index)
            self._rows.discard(rows)
            self.refresh(Region(0, rows.start, max(1, self.size.width), len(rows)))
        if new is not None:
            # New rows have no position on the screen until the layout is updated.
            self.call_after_refresh(self._reveal_cursor)

    def _reveal_cursor(self) -> None:
        rows = self._text.rows_of(self.cursor)
        if not rows or not self.size:
            return
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.max_scroll_y > 0:
                offset = self.content_region.offset - ancestor.content_region.offset + ancestor.scroll_offset
                ancestor.scroll_to_region(Region(0, rows.start, 1, len(rows)).translate(offset), animate=False)
                break

    # Mouse and selection

    def on_mouse_move(self, event: events.MouseMove) -> None:
        offset = event.get_content_offset(self)
        self._hover(None if offset is None else self.token_at(offset.x, offset.y))

    def on_leave(self) -> None:
        self._hover(None)

    def _hover(self, index: int | None) -> None:
        if index != self._hovered:
            self._hovered = index
            self.tooltip = None if index is None else _tooltip(self.steps[index], index, self.tau)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        # The terminal also reports a click at the end of a drag that selects text.
        if offset is None or event.chain > 1 or self.text_selection is not None:
            return
        index = self.token_at(offset.x, offset.y)
        if index is not None:
            event.stop()
            self.post_message(self.Picked(self, index))

    def _selected(self) -> range:
        selection = self.text_selection
        return range(0) if selection is None else self._characters_in(selection)

    def _characters_in(self, selection: Selection) -> range:
        # Offsets of a selection are (index in the text, 0), so that it survives another wrapping.
        start, end = selection.start or Offset(0, 0), selection.end
        return range(start.x, self._text.length if end is None else end.x)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected text without the breaks between rows."""
        characters = self._characters_in(selection)
        return self.text[characters.start : characters.stop], "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002
        self._redraw()


def _tooltip(step: Step, index: int, tau: float | None) -> Content:
    lines = [
        f"token {index + 1}, generated by the {step.role.name}",
        f"entropy {step.entropy:.4f}",
        f"top probability {step.top1:.2f}",
    ]
    if step.swap_entropy is not None:
        # Not "above tau": the router may have considered more than this token.
        tau_text = "" if tau is None else f", tau {tau:g}"
        lines.append(f"swap to the LLM: SLM entropy {step.swap_entropy:.4f}{tau_text}")
    return Content("\n".join(lines))
