"""The routing of one answer: the strip of entropies, the slider of tau and the metrics.

Independent of chats and of where a trace comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.answer_metrics import AnswerMetrics
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.tau_slider import TauSlider


class RoutingPanel(Vertical):
    """The routing of the answer that is being generated, or of a finished one."""

    DEFAULT_CSS = """
    RoutingPanel {
        height: auto;
        padding: 0 1;
        background: $surface;
        & EntropyStrip { height: 4; }
        & TauSlider { height: 1; max-width: 60; }
        & AnswerMetrics { height: auto; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._trace: Trace | None = None

    def compose(self) -> ComposeResult:
        # The strip's scale is above the slider's label: both have the same width.
        yield EntropyStrip()
        yield TauSlider()
        yield AnswerMetrics()

    def set_low(self, low: bool) -> None:
        """Use two rows for a low terminal: the strip, which then shows tau, and one line of metrics."""
        self.query_one(TauSlider).display = not low
        self.query_one(EntropyStrip).labels_tau = low
        metrics = self.query_one(AnswerMetrics)
        metrics.max_lines = 1 if low else 2
        metrics.show_status(metrics.status)

    def set_tau(self, tau: float | None, *, live: bool) -> None:
        """Show the chat's tau; `live` if an answer that uses it is being generated."""
        self.query_one(TauSlider).value = tau
        if live or self._trace is None:
            # The strip of a finished answer keeps the tau of that answer.
            self.query_one(EntropyStrip).tau = tau

    def clear(self) -> None:
        """Remove the answer."""
        self._trace = None
        strip = self.query_one(EntropyStrip)
        strip.clear()
        strip.tau = self.query_one(TauSlider).value

    def extend(
        self,
        steps: Sequence[Step],
        trace: Trace | None,
        context_used: Mapping[Role, tuple[int, int]],
        llm_alone_ms: float | None = None,
        status: str = "",
    ) -> None:
        """Append steps of an answer; the other arguments are those of `AnswerMetrics.show`."""
        self._trace = trace
        self.query_one(EntropyStrip).extend(steps)
        self.query_one(AnswerMetrics).show(trace, context_used=context_used, llm_alone_ms=llm_alone_ms, status=status)

    def show(self, trace: Trace | None, status: str = "") -> None:
        """Show a finished answer; None for no answer."""
        self.clear()
        self._trace = trace
        if trace is not None:
            strip = self.query_one(EntropyStrip)
            strip.tau = trace.taus[-1][1] if trace.taus else trace.settings.get("tau")
            strip.extend(trace.steps)
        self.query_one(AnswerMetrics).show(trace, status=status)

    def show_status(self, status: str) -> None:
        """Show what the engine is doing before the metrics, which stay."""
        self.query_one(AnswerMetrics).show_status(status)
