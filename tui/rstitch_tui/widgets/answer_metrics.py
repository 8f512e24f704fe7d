"""The metrics of an answer on one or two lines: routing, speed and use of the contexts.

Independent of the engine and of chats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.widgets import Static

from rstitch_local.decoding.roles import Role
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace

_LABEL, _VALUE, _LLM, _WARNING = "$foreground 60%", "$foreground", "$text-accent", "bold $text-warning"
_SEPARATOR = " · "
_NEARLY_FULL = 0.9

_Text = tuple[tuple[str, str], ...]
"""Pieces of text with their styles."""


class _Metric(NamedTuple):
    rank: int
    """Metrics with high ranks are left out first."""
    forms: Sequence[_Text]
    """From the longest to the shortest."""


class AnswerMetrics(Static):
    """One line if everything fits, else two; the least important metrics are left out first.

    Attributes:
        max_lines: 2, or 1 for a low terminal.
    """

    DEFAULT_CSS = """
    AnswerMetrics {
        height: auto;
        width: 1fr;
        text-wrap: nowrap;
    }
    """

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes, markup=False)
        self._trace: Trace | None = None
        self._context_used: Mapping[Role, tuple[int, int]] | None = None
        self._llm_alone_ms: float | None = None
        self.status = ""
        self._line_count = 0
        self.max_lines = 2

    def show(
        self,
        trace: Trace | None,
        *,
        context_used: Mapping[Role, tuple[int, int]] | None = None,
        llm_alone_ms: float | None = None,
        status: str = "",
    ) -> None:
        """Show the metrics of an answer.

        Args:
            trace: trace of the answer; None for no answer.
            context_used: for each model, the number of tokens in its context and the size of the context.
            llm_alone_ms: estimated time of the LLM alone in milliseconds.
            status: a few words shown before the metrics, such as what the engine is doing.
        """
        self._trace, self._context_used = trace, context_used
        self._llm_alone_ms, self.status = llm_alone_ms, status
        self._redraw()

    def show_status(self, status: str) -> None:
        """Show other words before the same metrics."""
        self.status = status
        self._redraw()

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._redraw()

    def _redraw(self) -> None:
        text = metrics_text(
            self._trace,
            self.content_size.width or 80,
            context_used=self._context_used,
            llm_alone_ms=self._llm_alone_ms,
            status=self.status,
            max_lines=self.max_lines,
        )
        line_count = text.plain.count("\n") + 1
        # Runs several times a second: a new layout only if the height changes.
        self.update(text, layout=line_count != self._line_count)
        self._line_count = line_count


def metrics_text(
    trace: Trace | None,
    width: int,
    *,
    context_used: Mapping[Role, tuple[int, int]] | None = None,
    llm_alone_ms: float | None = None,
    status: str = "",
    max_lines: int = 2,
) -> Content:
    """Return the metrics in at most `max_lines` (1 or 2) of this width; else the arguments of `AnswerMetrics.show`."""
    routing = list(_routing(trace, llm_alone_ms, status))
    speed = list(_speed(trace))
    if context_used:
        speed.append(_context(context_used))
    all_metrics = [metric.forms[0] for metric in (*routing, *speed)]
    if _cells(all_metrics) <= width:
        return _line(all_metrics)
    if max_lines == 1:
        return _line(_fitting([*routing, *speed], width))
    lines = [_line(_fitting(metrics, width)) for metrics in (routing, speed)]
    return Content("\n").join(line for line in lines if line.plain)


def _routing(trace: Trace | None, llm_alone_ms: float | None, status: str) -> Iterator[_Metric]:
    """Yield the status, the share of the LLM, swaps, catch-up and times."""
    if status:
        yield _Metric(0, [((one_line(status, 90), f"bold {_VALUE}"),)])
    if trace is None:
        return
    yield _Metric(1, [(("LLM ", _LLM), (f"{trace.llm_share:.0%}", _VALUE))])
    swaps = (f"▲{trace.swaps_up} ▼{trace.swaps_down}", _VALUE)
    yield _Metric(2, [(("swaps ", _LABEL), swaps), (swaps,)])
    if trace.catch_up_tokens:
        yield _Metric(3, _catch_up_forms(trace))
    ms_by_role = {role: sum(trace.spent(role, kind)[1] for kind in ("prompt", "catch_up", "decode")) for role in Role}
    if any(ms_by_role.values()):
        slm, llm = ((_time(ms), _VALUE) for ms in ms_by_role.values())
        yield _Metric(5, [(("time SLM ", _LABEL), slm, (", LLM ", _LABEL), llm)])
    if llm_alone_ms is not None and trace.wall_ms > 0:
        alone = ((_time(llm_alone_ms), _VALUE), (f" ({llm_alone_ms / trace.wall_ms:.1f}x)", _LABEL))
        yield _Metric(4, [(("LLM alone ≈ ", _LABEL), *alone), (("alone ≈ ", _LABEL), *alone)])


def _catch_up_forms(trace: Trace) -> list[_Text]:
    label = ("catch-up ", _LABEL)
    tokens = f"{trace.catch_up_tokens}"
    time = (_time(_spent(trace, "catch_up")[1]), _VALUE)
    return [
        (label, (tokens, _VALUE), (" tokens in ", _LABEL), time),
        (label, (f"{tokens}, ", _VALUE), time),
        (label, time),
    ]


def _speed(trace: Trace | None) -> Iterator[_Metric]:
    """Yield the decoding speed, the time to the first token and the prefill speed."""
    if trace is None:
        return
    generated = sum(trace.tokens.values()) - trace.resumed_tokens
    if trace.ttft_ms is not None and generated > 1 and trace.wall_ms > trace.ttft_ms:
        rate = _rate((generated - 1) / (trace.wall_ms - trace.ttft_ms))
        yield _Metric(0, [((rate, _VALUE), (" tok/s", _LABEL))])
    if trace.ttft_ms is not None:
        first = (_time(trace.ttft_ms), _VALUE)
        yield _Metric(2, [(("first token ", _LABEL), first), (("first ", _LABEL), first)])
    prompt_tokens, prompt_ms = _spent(trace, "prompt")
    if prompt_tokens and prompt_ms > 0:
        yield _Metric(3, [(("prompt ", _LABEL), (_rate(prompt_tokens / prompt_ms), _VALUE), (" tok/s", _LABEL))])


def _context(context_used: Mapping[Role, tuple[int, int]]) -> _Metric:
    """Return how full the contexts are; the short form shows only the fuller one, which will end the answer."""
    pieces: list[tuple[str, str]] = []
    for role in Role:
        if role in context_used:
            used, size = context_used[role]
            pieces += [(_SEPARATOR if pieces else "", _LABEL), (f"{role.name} ", _LABEL)]
            pieces.append((f"{used}/{size}", _WARNING if used >= _NEARLY_FULL * size else _VALUE))
    fullest = max(used / max(1, size) for used, size in context_used.values())
    short = (("context ", _LABEL), (f"{fullest:.0%}", _WARNING if fullest >= _NEARLY_FULL else _VALUE))
    return _Metric(1, [(("context ", _LABEL), *pieces), tuple(pieces), short])


def _fitting(metrics: Sequence[_Metric], width: int) -> list[_Text]:
    """Return the metrics of the lowest ranks that fit, each in the longest form there is space for."""
    remaining = list(metrics)
    while len(remaining) > 1 and _cells([metric.forms[-1] for metric in remaining]) > width:
        remaining.remove(max(remaining, key=lambda metric: metric.rank))
    texts = [metric.forms[-1] for metric in remaining]
    for index in sorted(range(len(remaining)), key=lambda index: remaining[index].rank):
        for form in remaining[index].forms:
            longer = [*texts[:index], form, *texts[index + 1 :]]
            if _cells(longer) <= width:
                texts = longer
                break
    return texts


def _cells(texts: Sequence[_Text]) -> int:
    return _line(texts).cell_length


def _line(texts: Sequence[_Text]) -> Content:
    return Content.styled(_SEPARATOR, _LABEL).join(Content.assemble(*pieces) for pieces in texts)


def _spent(trace: Trace, kind: str) -> tuple[int, float]:
    """Return the tokens evaluated as this kind by both models, and the milliseconds."""
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
