"""An answer token by token: who wrote each, and how sure it was.

Knows steps; nothing of models, chats or Markdown. Whatever the answer says is drawn as it is, never as markup, and
without characters that command a terminal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.cache import LRUCache
from textual.color import Color
from textual.content import Content
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.shades import legible, tinted
from rstitch_tui.widgets.token_text import TokenText
from rstitch_tui.widgets.wrapping import LINE_ENDS, expand_whitespace

FULL_ENTROPY = 0.02
"""Entropy from which on a token is drawn at full strength where there is no tau."""

_LEVELS = 8
_GAMMA = 0.5
_STRONGEST_TINT = 0.5
_ROWS_KEPT = 512


class _Row(NamedTuple):
    """A row as it is drawn, and for each part of it the column it ends before and its token."""

    strip: Strip
    ends: list[int]
    tokens: list[int]


class TokenView(Widget):
    """Tokens in the colours of those who wrote them; as high as the text is in rows.

    The LLM's are underlined and in the accent colour; the deeper a token's background, the less sure its writer was.
    A click on a token posts `Picked`; resting on one tells what is known of it.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token-view--llm",
        "token-view--slm-unsure",
        "token-view--llm-unsure",
        "token-view--cursor",
    }
    DEFAULT_CSS = """
    TokenView {
        height: auto;
        & > .token-view--llm { color: $text-accent; text-style: underline; }
        & > .token-view--slm-unsure { color: $primary; }
        & > .token-view--llm-unsure { color: $accent; }
        & > .token-view--cursor {
            color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold;
        }
    }
    """

    cursor: reactive[int | None] = reactive[int | None](None, repaint=False)
    """Index of the token that is marked, and scrolled to."""
    coloured: reactive[bool] = reactive(True)
    """Whether writers and entropies are shown; without, it is plain text."""
    tau: reactive[float | None] = reactive[float | None](None)
    """The entropy from which on a token is drawn at full strength."""

    class Picked(Message):
        """A token was clicked."""

        def __init__(self, token_view: TokenView, index: int) -> None:
            super().__init__()
            self.token_view = token_view
            self.index = index

        @property
        def control(self) -> TokenView:
            """The view it was clicked in."""
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
        self._rows: LRUCache[int, _Row] = LRUCache(_ROWS_KEPT)
        self._styles: dict[tuple[Role, int], Style] = {}
        self._background: Color | None = None
        self._hovered: int | None = None
        self.extend(list(steps))

    @property
    def steps(self) -> Sequence[Step]:
        """The tokens shown."""
        return self._text.steps

    @property
    def text(self) -> str:
        """The text as it is shown, without the breaks between rows."""
        return self._text.text

    def extend(self, steps: Sequence[Step]) -> None:
        """Add tokens at the end."""
        if not steps:
            return
        rows_before = self._text.row_count
        first = self._text.extend(steps)
        rows = self._text.row_count
        # The cursor may stand on a token without text, which is marked on the cell after it.
        first = max(0, min(first, rows - 1))
        for row in range(first, rows):
            self._rows.discard(row)
        if rows == rows_before:
            self.refresh(Region(0, first, max(1, self.size.width), rows - first))
        else:
            self.refresh(layout=True)

    def clear(self) -> None:
        """Show nothing."""
        self._text = TokenText(self._text.width)
        self._hovered = self.tooltip = None
        self.cursor = None
        self._redraw(layout=True)

    def show(self, steps: Iterable[Step]) -> None:
        """Show these tokens instead."""
        steps = list(steps)
        self.clear()
        self.extend(steps)

    def token_at(self, x: int, y: int) -> int | None:
        """Index of the token drawn in a cell of the content; None where there is none."""
        if not (0 <= y < self._text.row_count and x >= 0):
            return None
        row = self._row(y)
        part = bisect_right(row.ends, x)
        return row.tokens[part] if part < len(row.tokens) else None

    def describe(self, index: int) -> str:
        """What is known of a token: its writer, how sure that was, and why control passed there if it did."""
        step = self._text.steps[index]
        lines = [
            f"token {index + 1}, written by the {step.role.name}",
            f"entropy {step.entropy:.4f}",
            f"top probability {step.top1:.2f}",
        ]
        if step.swap_entropy is not None:
            # Which of the two is larger is for the router to say: it may look at more tokens than this one.
            tau = "" if self.tau is None else f", tau {self.tau:g}"
            lines.append(f"control passed here: SLM entropy {step.swap_entropy:.4f}{tau}")
        return "\n".join(lines)

    # Layout

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """As wide as there is room."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """The number of rows at this width."""
        self._wrap_to(width)
        return self._text.row_count

    def _wrap_to(self, width: int) -> None:
        if self._text.wrap_to(width):
            self._rows.clear()

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One row."""
        width = self.content_size.width
        self._wrap_to(width)
        background = self.background_colors[1]
        if background != self._background:
            self._background = background
            self._forget_styles()
        if y >= self._text.row_count:
            return Strip.blank(width, self._style(Role.SLM, 0))
        return self._row(y).strip

    def _row(self, y: int) -> _Row:
        row = self._rows.get(y)
        if row is None:
            row = self._rows[y] = self._build_row(y)
        return row

    def _build_row(self, y: int) -> _Row:
        width = self._text.width
        marked = self._text.span(self.cursor)
        selected = self._selected()
        segments: list[Segment] = []
        ends: list[int] = []
        tokens: list[int] = []
        column = 0
        for token, start, text in self._text.parts(y):
            # The blank that stands for a line end is no word to be sure or unsure of.
            style = self._style_of(token, bare=text in LINE_ENDS)
            # Only where a selection or the cursor begins or ends is a token drawn in several pieces.
            for begin, piece in _cut(text, start, (*marked, *selected)):
                look = style
                if marked[0] <= begin < marked[1]:
                    look += self.get_component_rich_style("token-view--cursor", partial=True)
                if selected[0] <= begin < selected[1]:
                    look += self.screen.get_component_rich_style("screen--selection", partial=True)
                shown = expand_whitespace(piece, column, width)
                if shown:
                    # Where this stands in the text, for the selection.
                    segment = Segment(shown, look + Style.from_meta({"offset": (begin, 0)}))
                    segments.append(segment)
                    column += segment.cell_length
            ends.append(column)
            tokens.append(token)
        if marked[0] >= self._text.length and y == self._text.row_count - 1 and column < width:
            segments.append(Segment(" ", self.get_component_rich_style("token-view--cursor", partial=True)))
        return _Row(Strip(segments).adjust_cell_length(width, self._style(Role.SLM, 0)), ends, tokens)

    def _style_of(self, token: int, *, bare: bool) -> Style:
        if not self.coloured:
            return self._style(Role.SLM, 0)
        step = self._text.steps[token]
        if bare:
            return self._style(step.role, 0)
        share = min(1.0, max(0.0, step.entropy) / max(FULL_ENTROPY if self.tau is None else self.tau, 1e-9))
        return self._style(step.role, round(_LEVELS * share**_GAMMA))

    def _style(self, role: Role, level: int) -> Style:
        """How a writer's token looks at a level of unsureness, 0 to `_LEVELS`."""
        style = self._styles.get((role, level))
        if style is None:
            background = self.background_colors[1]
            tint = self.get_component_styles(f"token-view--{role.value}-unsure").color
            shade = tinted(background, tint, _STRONGEST_TINT * level / _LEVELS)
            look = self.get_visual_style(*(["token-view--llm"] if role is Role.LLM else []))
            color = look.foreground if look.foreground is not None else background.get_contrast_text()
            style = look.rich_style + Style(
                color=legible(color, shade).rich_color,
                bgcolor=shade.rich_color,
                # The terminal's own colours cannot be mixed.
                bold=True if background.ansi is not None and level > _LEVELS // 2 else None,
            )
            self._styles[role, level] = style
        return style

    def _redraw(self, *, layout: bool = False) -> None:
        self._rows.clear()
        self.refresh(layout=layout)

    def _forget_styles(self) -> None:
        self._styles.clear()
        self._rows.clear()

    def notify_style_update(self) -> None:
        """Another theme, another state: colours are worked out anew."""
        super().notify_style_update()
        self._forget_styles()

    def watch_coloured(self) -> None:
        """Draw with or without colours."""
        self._redraw()

    def watch_tau(self) -> None:
        """Draw at other strengths."""
        self._redraw()

    # Cursor

    def watch_cursor(self, old: int | None, new: int | None) -> None:
        """Move the mark, and see that it is in view."""
        if not self.is_mounted:
            return
        for index in (old, new):
            rows = self._text.rows_of(self._text.span(index))
            for row in rows:
                self._rows.discard(row)
            self.refresh(Region(0, rows.start, max(1, self.size.width), len(rows)))
        if new is not None:
            # What was added just now has no place on the screen yet.
            self.call_after_refresh(self._reveal_cursor)

    def _reveal_cursor(self) -> None:
        rows = self._text.rows_of(self._text.span(self.cursor))
        if not rows or not self.size:
            return
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.max_scroll_y > 0:
                place = self.content_region.offset - ancestor.content_region.offset + ancestor.scroll_offset
                ancestor.scroll_to_region(Region(0, rows.start, 1, len(rows)).translate(place), animate=False)
                break

    # Mouse and selection

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Tell of the token under the pointer."""
        place = event.get_content_offset(self)
        self._hover(None if place is None else self.token_at(place.x, place.y))

    def on_leave(self) -> None:
        """Nothing is under the pointer any more."""
        self._hover(None)

    def _hover(self, index: int | None) -> None:
        if index != self._hovered:
            self._hovered = index
            self.tooltip = None if index is None else Content(self.describe(index))

    def on_click(self, event: events.Click) -> None:
        """A click picks a token, unless it is the end of a selection."""
        place = event.get_content_offset(self)
        if place is None or event.chain > 1 or self.text_selection is not None:
            return
        index = self.token_at(place.x, place.y)
        if index is not None:
            event.stop()
            self.post_message(self.Picked(self, index))

    def _selected(self) -> tuple[int, int]:
        """The characters that are selected."""
        selection = self.text_selection
        return (-1, -1) if selection is None else self._selection_span(selection)

    def _selection_span(self, selection: Selection) -> tuple[int, int]:
        # A place in the selection is (index in the text, 0): it stays where it is when rows are broken anew.
        start, end = selection.start or Offset(0, 0), selection.end
        return start.x, self._text.length if end is None else end.x

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, without the breaks between rows."""
        start, end = self._selection_span(selection)
        return self.text[start:end], "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002
        """Draw the selection."""
        self._redraw()


def _cut(text: str, start: int, borders: Iterable[int]) -> Iterator[tuple[int, str]]:
    """A text that begins at `start`, cut at the borders that lie within it: where each piece begins, and the piece."""
    places = [start, *sorted({border for border in borders if start < border < start + len(text)}), start + len(text)]
    for begin, end in pairwise(places):
        yield begin, text[begin - start : end - start]
