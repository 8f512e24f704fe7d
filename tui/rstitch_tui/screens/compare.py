"""Two answers to the same question side by side, one of them while it is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from rstitch_local.sanitize import safe_text
from rstitch_local.trace.record import Trace
from rstitch_tui.comparison import length_and_time, router_label, tau_of, verdict
from rstitch_tui.widgets.answer_metrics import AnswerMetrics
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.token_view import TokenView


class _Side(Vertical):
    """One of the two answers: heading, tokens, entropy strip and metrics."""

    def __init__(self, heading: str, router: str, *, follow: bool = False) -> None:
        super().__init__()
        self._follow = follow
        self._heading = heading
        self._router = router

    def compose(self) -> ComposeResult:
        yield Static(Content(self._router_heading), classes="heading", markup=False)
        with VerticalScroll():
            yield TokenView()
        yield EntropyStrip()
        yield AnswerMetrics()

    @property
    def _router_heading(self) -> str:
        return f"{self._heading} · {router_label(self._router)}"

    def on_mount(self) -> None:
        self.query_one(TokenView).tau = self.query_one(EntropyStrip).tau = tau_of(self._router)

    def show(self, trace: Trace) -> None:
        """Draw the steps of the trace that are not drawn yet."""
        tokens = self.query_one(TokenView)
        steps = trace.steps[len(tokens.steps) :]
        scroll = self.query_one(VerticalScroll)
        # Scrolling up disables auto-follow.
        follows = self._follow and scroll.scroll_offset.y >= scroll.max_scroll_y
        tokens.extend(steps)
        if follows:
            scroll.scroll_end(animate=False)
        self.query_one(EntropyStrip).extend(steps)
        self.query_one(AnswerMetrics).show(trace)
        self.query_one(".heading", Static).update(Content(f"{self._router_heading} · {length_and_time(trace)}"))


class CompareScreen(Screen[None]):
    """Shows an old answer beside a new one, which arrives by `show` and `finish`.

    Args:
        old: record of the old answer.
        router: router spec of the new answer.
        stop: stops the new answer.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Stop or close", id="compare_leave"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012  declared as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (30, "-tall")]  # noqa: RUF012

    DEFAULT_CSS = """
    CompareScreen {
        layout: vertical;
        & #sides { layout: horizontal; height: 1fr; }
        & _Side { width: 1fr; height: 1fr; padding: 0 1; }
        & _Side.-new { border-left: solid $foreground 30%; }
        & .heading { height: 1; color: $text; text-style: bold; }
        & VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
        & EntropyStrip { height: 4; background: $surface; }
        & AnswerMetrics { height: auto; }
        &.-wide AnswerMetrics { min-height: 2; }
        & #verdict { height: auto; background: $panel; color: $text; padding: 0 1; }
        &.-short EntropyStrip { height: 2; }
        &.-tiny EntropyStrip, &.-tiny AnswerMetrics { display: none; }
        &.-narrow #sides { layout: vertical; }
        &.-narrow _Side.-new { border-left: none; }
        &.-narrow EntropyStrip { height: 1; }
    }
    """

    def __init__(self, old: Trace, router: str, stop: Callable[[], object]) -> None:
        super().__init__()
        self._old = old
        self._router = router
        self._stop = stop
        self._new: Trace | None = None
        self._error = ""
        self._finished = False
        self._stopping = False
        self._ready = False

    def compose(self) -> ComposeResult:
        with Container(id="sides"):
            yield _Side("Before", str(self._old.settings.get("router", "")))
            new = _Side("Now", self._router, follow=True)
            new.add_class("-new")
            yield new
        yield Static(id="verdict", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._ready = True
        self.query(_Side).first().show(self._old)
        self._draw()

    def show(self, trace: Trace | None) -> None:
        """Draw the record of the new answer so far."""
        self._new = trace or self._new
        self._draw()

    def finish(self, error: str = "") -> None:
        """Draw the verdict or the error: the new answer has ended."""
        self._error = error
        self._finished = True
        self._draw()

    def _draw(self) -> None:
        # An answer can end before the screen is mounted.
        if not self._ready:
            return
        if self._new is not None:
            self.query(_Side).last().show(self._new)
        line = self.query_one("#verdict", Static)
        line.set_class(bool(self._error), "-error")
        if self._error:
            line.update(Content(safe_text(self._error)))
        elif not self._finished or self._new is None:
            line.update(Content(f"{router_label(self._router)}: generating …"))
        else:
            line.update(Content(verdict(self._old, self._new)))

    def action_leave(self) -> None:
        """Stop the new answer; close the screen once it has ended or on the second press."""
        if self._finished or self._stopping:
            self.dismiss(None)
        else:
            self._stopping = True
            self._stop()
