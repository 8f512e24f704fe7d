"""A strip of bars: how unsure the writer was of each of the last tokens, where tau lies, and where control passed.

Knows steps and tau; nothing of answers, routers or models.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.entropy_scale import place_of, tau_text
from rstitch_tui.widgets.shades import GRAPHICS_CONTRAST, legible

_WIDEST = 1000
_SCALE_CELLS = 10
_NARROWEST_WITH_SCALE = 30
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_UP, _DOWN, _RUN = "▲", "▼", "━"
_PARTS = ("slm", "llm", "tau", "scale")


class _Bar(NamedTuple):
    """One token: where its entropy lies on the scale, who wrote it, and its mark in the row below."""

    place: float
    role: Role
    mark: str


class EntropyStrip(Widget):
    """Bars of the last tokens that fit, the newest on the right, on a logarithmic scale up to 1.

    The row below shows where control went up to the LLM (▲), how long it had it (━), and where it came back (▼). A
    token at which it went up has the entropy of the SLM that was unsure of it. In a single row there is no room for
    that, and what the LLM wrote is underlined.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"entropy-strip--{part}" for part in _PARTS}
    DEFAULT_CSS = """
    EntropyStrip {
        height: 4;
        width: 1fr;
        & > .entropy-strip--slm { color: $primary; }
        & > .entropy-strip--llm { color: $accent; }
        & > .entropy-strip--tau { color: $text-muted; }
        & > .entropy-strip--scale { color: $text-muted; }
    }
    """

    tau: reactive[float | None] = reactive[float | None](None)
    """Where the line is drawn; None for no line."""

    def __init__(
        self,
        tau: float | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._bars: deque[_Bar] = deque(maxlen=_WIDEST)
        self._last: Role | None = None
        self.set_reactive(EntropyStrip.tau, tau)
        self.tooltip = Content(
            f"How unsure the writer was of each of the last tokens, and tau. {_UP} the SLM was unsure and the LLM took "
            f"over, {_DOWN} the SLM writes again."
        )

    def extend(self, steps: Sequence[Step]) -> None:
        """Add tokens on the right."""
        # Of more tokens than are ever drawn, only who wrote the one before the first matters.
        if len(steps) > _WIDEST:
            self._last = steps[-_WIDEST - 1].role
        for step in steps[-_WIDEST:]:
            mark = _RUN if step.role is Role.LLM else " "
            if step.swap_entropy is not None:
                mark = _UP
            elif step.role is Role.SLM and self._last is Role.LLM:
                mark = _DOWN
            entropy = step.entropy if step.swap_entropy is None else step.swap_entropy
            self._bars.append(_Bar(place_of(entropy), step.role, mark))
            self._last = step.role
        if steps:
            self.refresh()

    def clear(self) -> None:
        """Show no tokens."""
        self._bars.clear()
        self._last = None
        self.refresh()

    def show(self, steps: Iterable[Step]) -> None:
        """Show these tokens instead."""
        self.clear()
        self.extend(list(steps))

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """As wide as there is room."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Four rows where nobody says otherwise."""
        return 4

    def render_line(self, y: int) -> Strip:
        """One row: the scale, then bars or marks."""
        width, height = self.content_size
        scale = _SCALE_CELLS + 1 if width >= _NARROWEST_WITH_SCALE else 0
        bar_rows = max(1, height - 1)
        bars = list(islice(self._bars, max(0, len(self._bars) - (width - scale)), None))
        tau_row = None if self.tau is None else min(bar_rows - 1, int(place_of(self.tau) * bar_rows))
        looks = {part: self._style(part) for part in _PARTS}
        if height == 1:
            looks["llm"] += Style(underline=True)
        segments: list[Segment] = []
        # Counted from the bottom, as the bars grow.
        row = bar_rows - 1 - y
        if scale:
            segments.append(Segment(self._scale(row, bar_rows, tau_row), looks["scale"]))
        if row < 0:
            segments += _joined((bar.mark, looks[bar.role.value]) for bar in bars)
        elif row < bar_rows:
            line = "┄" if row == tau_row else " "
            segments += _joined(_cell(bar, row, bar_rows, looks) or (line, looks["tau"]) for bar in bars)
            segments.append(Segment(line * (width - scale - len(bars)), looks["tau"]))
        return Strip(filter(None, segments)).adjust_cell_length(width, self.rich_style)

    def _scale(self, row: int, rows: int, tau_row: int | None) -> str:
        if row == tau_row and self.tau is not None:
            return f"{f'τ {tau_text(self.tau)}':<{_SCALE_CELLS}}├"
        figure = "1" if row == rows - 1 > 0 else ""
        return f"{figure:>{_SCALE_CELLS - 1}} " + (" " if row < 0 else "│")

    def _style(self, part: str) -> Style:
        look = self.get_visual_style(f"entropy-strip--{part}")
        background = self.background_colors[1]
        color = look.foreground if look.foreground is not None else background.get_contrast_text()
        return look.rich_style + Style(color=legible(color, background, GRAPHICS_CONTRAST).rich_color)


def _cell(bar: _Bar, row: int, rows: int, looks: Mapping[str, Style]) -> tuple[str, Style] | None:
    """A bar's cell in a row of bars, filled by eighths; None above it."""
    # However sure the writer was, the token is there.
    filled = min(8, max(1, round(bar.place * rows * 8)) - 8 * row)
    return (_EIGHTHS[filled], looks[bar.role.value]) if filled > 0 else None


def _joined(cells: Iterable[tuple[str, Style]]) -> Iterator[Segment]:
    """Neighbouring cells of one style as one segment."""
    for style, run in groupby(cells, key=lambda cell: cell[1]):
        yield Segment("".join(text for text, _ in run), style)
