"""The figures of an answer on one or two lines: how it was routed, how fast it came, how full the contexts are.

Knows a trace and a width; nothing of engines or chats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from textual import events
from textual.content import Content
from textual.widgets import Static

from rstitch_local.decoding.roles import Role
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace

_LABEL, _FIGURE, _LLM, _WARNING = "$foreground 60%", "$foreground", "$text-accent", "bold $text-warning"
_SEPARATOR = " · "
_NEARLY_FULL = 0.9

_Pieces = tuple[tuple[str, str], ...]
"""Texts, each with its style."""
_Part = tuple[int, Sequence[_Pieces]]
"""One figure: its rank (what has the highest is left out first), and its forms from the longest to the shortest."""


class Figures(Static):
    """One line where there is room for everything, else two; what matters least is left out first."""

    DEFAULT_CSS = """
    Figures {
        height: auto;
        width: 1fr;
        text-wrap: nowrap;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes, markup=False)
        self._trace: Trace | None = None
        self._context_used: Mapping[Role, tuple[int, int]] | None = None
        self._llm_only_ms: float | None = None
        self._busy = ""
        self._lines = 0

    def show(
        self,
        trace: Trace | None,
        *,
        context_used: Mapping[Role, tuple[int, int]] | None = None,
        llm_only_ms: float | None = None,
        busy: str = "",
    ) -> None:
        """Show an answer's figures.

        Args:
            trace: of the answer; None while there is none.
            context_used: for each model, the tokens its context holds and the most it can.
            llm_only_ms: what the LLM alone would have taken, by estimate.
            busy: what is being done, in a word or two; it comes first.
        """
        self._trace, self._context_used = trace, context_used
        self._llm_only_ms, self._busy = llm_only_ms, busy
        self._redraw()

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        """Another width has room for other figures."""
        self._redraw()

    def _redraw(self) -> None:
        text = figures_text(
            self._trace,
            self.content_size.width or 80,
            context_used=self._context_used,
            llm_only_ms=self._llm_only_ms,
            busy=self._busy,
        )
        lines = text.plain.count("\n") + 1
        # Shown many times a second: the screen is laid out anew only where it has to be.
        self.update(text, layout=lines != self._lines)
        self._lines = lines


def figures_text(
    trace: Trace | None,
    width: int,
    *,
    context_used: Mapping[Role, tuple[int, int]] | None = None,
    llm_only_ms: float | None = None,
    busy: str = "",
) -> Content:
    """The figures in at most two lines of this width; the arguments are those of `Figures.show`."""
    routing = list(_routing(trace, llm_only_ms, busy))
    speed = list(_speed(trace, context_used or {}))
    everything = [forms[0] for _, forms in (*routing, *speed)]
    if _cells(everything) <= width:
        return _line(everything)
    lines = [_line(_fitting(parts, width)) for parts in (routing, speed)]
    return Content("\n").join(line for line in lines if line.plain)


def _routing(trace: Trace | None, llm_only_ms: float | None, busy: str) -> Iterator[_Part]:
    """Who wrote, and what it cost to change over."""
    if busy:
        yield 0, [((one_line(busy, 90), f"bold {_FIGURE}"),)]
    if trace is None:
        return
    yield 1, [(("LLM ", _LLM), (f"{trace.llm_share:.0%}", _FIGURE))]
    swaps = (f"▲{trace.swaps_up} ▼{trace.swaps_down}", _FIGURE)
    yield 2, [(("swaps ", _LABEL), swaps), (swaps,)]
    if again := trace.catch_up_tokens:
        took = (_time(_spent(trace, "catch_up")[1]), _FIGURE)
        yield (
            3,
            [
                (("re-evaluated ", _LABEL), (str(again), _FIGURE), (" tokens in ", _LABEL), took),
                (("re-eval ", _LABEL), (f"{again}, ", _FIGURE), took),
                (("re-eval ", _LABEL), took),
            ],
        )
    spent = {role: sum(trace.spent(role, kind)[1] for kind in ("prompt", "catch_up", "decode")) for role in Role}
    if any(spent.values()):
        slm, llm = ((_time(ms), _FIGURE) for ms in spent.values())
        yield 5, [(("time SLM ", _LABEL), slm, (", LLM ", _LABEL), llm)]
    if llm_only_ms is not None and trace.wall_ms > 0:
        alone = ((_time(llm_only_ms), _FIGURE), (f" ({llm_only_ms / trace.wall_ms:.1f}x)", _LABEL))
        yield 4, [(("LLM alone ≈ ", _LABEL), *alone), (("alone ≈ ", _LABEL), *alone)]


def _speed(trace: Trace | None, context_used: Mapping[Role, tuple[int, int]]) -> Iterator[_Part]:
    """How fast it came, and how much room is left."""
    if trace is not None:
        written = sum(trace.tokens.values()) - trace.resumed_tokens
        if trace.ttft_ms is not None and written > 1 and trace.wall_ms > trace.ttft_ms:
            yield 0, [((_rate((written - 1) / (trace.wall_ms - trace.ttft_ms)), _FIGURE), (" tok/s", _LABEL))]
        if trace.ttft_ms is not None:
            first = (_time(trace.ttft_ms), _FIGURE)
            yield 2, [(("first token ", _LABEL), first), (("first ", _LABEL), first)]
        prompt, prompt_ms = _spent(trace, "prompt")
        if prompt and prompt_ms > 0:
            yield 3, [(("prompt ", _LABEL), (_rate(prompt / prompt_ms), _FIGURE), (" tok/s", _LABEL))]
    contexts = [(role, *context_used[role]) for role in Role if role in context_used]
    if contexts:
        pieces: list[tuple[str, str]] = []
        for role, used, limit in contexts:
            pieces += [(_SEPARATOR if pieces else "", _LABEL), (f"{role.name} ", _LABEL)]
            pieces.append((f"{used}/{limit}", _WARNING if used >= _NEARLY_FULL * limit else _FIGURE))
        # Where there is no room for both, the fuller one counts: it ends the answer.
        fullest = max(used / max(1, limit) for _, used, limit in contexts)
        short = (("context ", _LABEL), (f"{fullest:.0%}", _WARNING if fullest >= _NEARLY_FULL else _FIGURE))
        yield 1, [(("context ", _LABEL), *pieces), tuple(pieces), short]


def _fitting(parts: Sequence[_Part], width: int) -> list[_Pieces]:
    """As many of the parts as fit, those of the lowest ranks, each at such length as there is room for."""
    kept = list(parts)
    while len(kept) > 1 and _cells([forms[-1] for _, forms in kept]) > width:
        kept.remove(max(kept, key=lambda part: part[0]))
    chosen = [forms[-1] for _, forms in kept]
    for index in sorted(range(len(kept)), key=lambda index: kept[index][0]):
        for form in kept[index][1]:
            longer = [*chosen[:index], form, *chosen[index + 1 :]]
            if _cells(longer) <= width:
                chosen = longer
                break
    return chosen


def _cells(parts: Sequence[_Pieces]) -> int:
    return _line(parts).cell_length


def _line(parts: Sequence[_Pieces]) -> Content:
    return Content.styled(_SEPARATOR, _LABEL).join(Content.assemble(*pieces) for pieces in parts)


def _spent(trace: Trace, kind: str) -> tuple[int, float]:
    """Tokens evaluated as this kind and milliseconds spent on them, on both models."""
    spent = [trace.spent(role, kind) for role in Role]
    return sum(tokens for tokens, _ in spent), sum(ms for _, ms in spent)


def _time(ms: float) -> str:
    if ms < 999.5:
        return f"{ms:.0f} ms"
    seconds = ms / 1e3
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"


def _rate(per_ms: float) -> str:
    rate = per_ms * 1e3
    return f"{rate:.1f}" if rate < 99.95 else f"{rate:.0f}"
