"""A strip of bars: the entropies of the last tokens, tau, and the swaps.

Independent of answers, routers and models.
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
from rstitch_tui.widgets.contrast import GRAPHICS_CONTRAST, with_contrast
from rstitch_tui.widgets.entropy_scale import format_tau, position_of

_MAX_BARS = 1000
_SCALE_CELLS = 10
_MIN_WIDTH_WITH_SCALE = 30
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SWAP_TO_LLM, _SWAP_TO_SLM, _LLM_TOKEN, _ONE_TOKEN = "▲", "▼", "━", "◆"
_PARTS = ("slm", "llm", "tau", "scale")


class _Bar(NamedTuple):
    """One token: the position of its entropy on the scale, its model, and its mark in the row below."""

    position: float
    role: Role
    mark: str


class EntropyStrip(Widget):
    """Bars of the last tokens, the newest on the right, on a logarithmic scale up to 1.

    The row below marks swaps to the LLM (▲), further tokens of the LLM (━) and swaps to the SLM (▼); a visit of one
    token is one mark (◆). At a swap to the LLM the bar is the entropy of the SLM. If the strip is one row high, LLM
    tokens are underlined instead.

    Attributes:
        labels_tau: whether the scale shows the value of tau.
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
        self._bars: deque[_Bar] = deque(maxlen=_MAX_BARS)
        self._last_role: Role | None = None
        self.labels_tau = True
        self.set_reactive(EntropyStrip.tau, tau)
        self.tooltip = Content(
            f"Entropies of the last tokens, and tau. {_SWAP_TO_LLM} swap to the LLM, {_SWAP_TO_SLM} swap to the SLM, "
            f"{_ONE_TOKEN} one LLM token."
        )

    def extend(self, steps: Sequence[Step]) -> None:
        """Append tokens on the right."""
        # Only the last tokens are drawn; of those before, the role of the last one decides the first mark.
        if len(steps) > _MAX_BARS:
            self._last_role = steps[-_MAX_BARS - 1].role
        for step in steps[-_MAX_BARS:]:
            mark = _LLM_TOKEN if step.role is Role.LLM else " "
            if step.swap_entropy is not None:
                mark = _SWAP_TO_LLM
            elif step.role is Role.SLM and self._last_role is Role.LLM:
                mark = self._mark_return()
            entropy = step.entropy if step.swap_entropy is None else step.swap_entropy
            self._bars.append(_Bar(position_of(entropy), step.role, mark))
            self._last_role = step.role
        if steps:
            self.refresh()

    def _mark_return(self) -> str:
        """Return the mark of a swap to the SLM; after a single LLM token, that token's mark stands for both swaps."""
        if self._bars and self._bars[-1].mark == _SWAP_TO_LLM:
            self._bars[-1] = self._bars[-1]._replace(mark=_ONE_TOKEN)
            return " "
        return _SWAP_TO_SLM

    def clear(self) -> None:
        """Remove all tokens."""
        self._bars.clear()
        self._last_role = None
        self.refresh()

    def show(self, steps: Iterable[Step]) -> None:
        """Replace the tokens."""
        self.clear()
        self.extend(list(steps))

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        return 4

    def render_line(self, y: int) -> Strip:
        width, height = self.content_size
        scale = _SCALE_CELLS + 1 if width >= _MIN_WIDTH_WITH_SCALE else 0
        bar_rows = max(1, height - 1)
        bars = list(islice(self._bars, max(0, len(self._bars) - (width - scale)), None))
        tau_row = None if self.tau is None else min(bar_rows - 1, int(position_of(self.tau) * bar_rows))
        styles = {part: self._style(part) for part in _PARTS}
        if height == 1:
            styles["llm"] += Style(underline=True)
        segments: list[Segment] = []
        # Rows of bars are counted from the bottom; -1 is the row of marks.
        row = bar_rows - 1 - y
        if scale:
            segments.append(Segment(self._scale(row, bar_rows, tau_row), styles["scale"]))
        if row < 0:
            segments += _merged((bar.mark, styles[bar.role.value]) for bar in bars)
        elif row < bar_rows:
            line = "┄" if row == tau_row else " "
            segments += _merged(_cell(bar, row, bar_rows, styles) or (line, styles["tau"]) for bar in bars)
            segments.append(Segment(line * (width - scale - len(bars)), styles["tau"]))
        return Strip(filter(None, segments)).adjust_cell_length(width, self.rich_style)

    def _scale(self, row: int, rows: int, tau_row: int | None) -> str:
        if row == tau_row and self.tau is not None:
            return f"{f'τ {format_tau(self.tau)}' if self.labels_tau else 'τ':<{_SCALE_CELLS}}├"
        label = "1" if row == rows - 1 > 0 else ""
        return f"{label:>{_SCALE_CELLS - 1}} " + (" " if row < 0 else "│")

    def _style(self, part: str) -> Style:
        visual = self.get_visual_style(f"entropy-strip--{part}")
        background = self.background_colors[1]
        color = visual.foreground if visual.foreground is not None else background.get_contrast_text()
        return visual.rich_style + Style(color=with_contrast(color, background, GRAPHICS_CONTRAST).rich_color)


def _cell(bar: _Bar, row: int, rows: int, styles: Mapping[str, Style]) -> tuple[str, Style] | None:
    """Return a bar's cell in a row of bars, or None above the bar."""
    # At least one eighth, so that every token is visible.
    eighths = min(8, max(1, round(bar.position * rows * 8)) - 8 * row)
    return (_EIGHTHS[eighths], styles[bar.role.value]) if eighths > 0 else None


def _merged(cells: Iterable[tuple[str, Style]]) -> Iterator[Segment]:
    """Yield one segment for each run of cells with the same style."""
    for style, run in groupby(cells, key=lambda cell: cell[1]):
        yield Segment("".join(text for text, _ in run), style)
