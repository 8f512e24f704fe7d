"""What the routing did and how it is steered: the strip of entropies, the slider of tau, the figures.

Knows how the three belong together; nothing of chats, or of where a trace comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.figures import Figures
from rstitch_tui.widgets.tau_slider import TauSlider


class Routing(Vertical):
    """Shows one answer's routing: the one being written, or one that was."""

    DEFAULT_CSS = """
    Routing {
        height: auto;
        padding: 0 1;
        background: $surface;
        & EntropyStrip { height: 4; }
        & TauSlider { height: 1; max-width: 60; }
        & Figures { height: auto; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._trace: Trace | None = None

    def compose(self) -> ComposeResult:
        """The strip over the slider, axis over track."""
        yield EntropyStrip()
        yield TauSlider()
        yield Figures()

    def set_tau(self, tau: float | None, *, live: bool) -> None:
        """The chat's threshold; `live` where an answer is being written that goes by it from now on."""
        self.query_one(TauSlider).value = tau
        if live or self._trace is None:
            # An answer that was written stands by the threshold it was written with.
            self.query_one(EntropyStrip).tau = tau

    def begin(self) -> None:
        """An answer begins: nothing is known of it yet."""
        self._trace = None
        strip = self.query_one(EntropyStrip)
        strip.clear()
        strip.tau = self.query_one(TauSlider).value

    def grow(
        self,
        steps: Sequence[Step],
        trace: Trace | None,
        context_used: Mapping[Role, tuple[int, int]],
        llm_only_ms: float | None = None,
        busy: str = "",
    ) -> None:
        """Steps that were written since, and the record they belong to."""
        self._trace = trace
        self.query_one(EntropyStrip).extend(steps)
        self.query_one(Figures).show(trace, context_used=context_used, llm_only_ms=llm_only_ms, busy=busy)

    def show(self, trace: Trace | None, busy: str = "") -> None:
        """An answer that was written, or none."""
        self.begin()
        self._trace = trace
        if trace is not None:
            strip = self.query_one(EntropyStrip)
            strip.tau = trace.taus[-1][1] if trace.taus else trace.settings.get("tau")
            strip.extend(trace.steps)
        self.show_busy(busy)

    def show_busy(self, busy: str) -> None:
        """What the engine does besides answering, before the figures that are shown."""
        self.query_one(Figures).show(self._trace, busy=busy)
