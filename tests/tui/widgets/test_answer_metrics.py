from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from rstitch_local.decoding.roles import Role
from rstitch_local.llama.batch import Usage
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.answer_metrics import AnswerMetrics, metrics_text

SLM, LLM = Role.SLM, Role.LLM
CONTEXT = {SLM: (812, 4096), LLM: (640, 4096)}
MS = 1_000_000


def trace(**changes: Any) -> Trace:
    values: dict[str, Any] = {
        "seed": 0,
        "tokens": {SLM: 150, LLM: 50},
        "swaps_up": 12,
        "swaps_down": 11,
        "wall_ms": 6000.0,
        "ttft_ms": 310.0,
        "usage": {
            SLM: Usage([60, 31, 0], [100 * MS, 60 * MS, 0]),
            LLM: Usage([60, 120, 0], [300 * MS, 340 * MS, 0]),
        },
    }
    return Trace(**{**values, **changes})


def lines(width: int, *, of: Trace | None = None, **more: Any) -> list[str]:
    plain = metrics_text(trace() if of is None else of, width, context_used=CONTEXT, **more).plain
    return plain.split("\n")


def test_everything_on_one_line() -> None:
    assert lines(220, llm_alone_ms=10800.0) == [
        "LLM 25% · swaps ▲12 ▼11 · catch-up 151 tokens in 400 ms · time SLM 160 ms, LLM 640 ms · "
        "LLM alone ≈ 10.8 s (1.8x) · 35.0 tok/s · first token 310 ms · prompt 300 tok/s · "
        "context SLM 812/4096 · LLM 640/4096"
    ]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            140,
            [
                "LLM 25% · swaps ▲12 ▼11 · catch-up 151 tokens in 400 ms · time SLM 160 ms, LLM 640 ms · "
                "LLM alone ≈ 10.8 s (1.8x)",
                "35.0 tok/s · first token 310 ms · prompt 300 tok/s · context SLM 812/4096 · LLM 640/4096",
            ],
        ),
        (
            78,
            [
                "LLM 25% · swaps ▲12 ▼11 · catch-up 151, 400 ms · LLM alone ≈ 10.8 s (1.8x)",
                "35.0 tok/s · first 310 ms · prompt 300 tok/s · SLM 812/4096 · LLM 640/4096",
            ],
        ),
        (41, ["LLM 25% · swaps ▲12 ▼11 · catch-up 400 ms", "35.0 tok/s · first 310 ms · context 20%"]),
        (20, ["LLM 25% · ▲12 ▼11", "35.0 tok/s"]),
        (3, ["LLM 25%", "35.0 tok/s"]),
    ],
)
def test_the_least_important_metrics_are_left_out_first(width: int, expected: list[str]) -> None:
    assert lines(width, llm_alone_ms=10800.0) == expected


@given(st.integers(11, 200), st.booleans(), st.booleans(), st.sampled_from(["", "loading"]))
def test_it_fits_in_two_lines_of_any_width(width: int, estimated: bool, has_answer: bool, status: str) -> None:
    text = metrics_text(
        trace() if has_answer else None,
        width,
        context_used=CONTEXT,
        llm_alone_ms=1e6 if estimated else None,
        status=status,
    )
    lines = text.plain.split("\n")
    assert len(lines) <= 2
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(status or ("LLM 25%" if has_answer else ("context", "SLM 812/4096")))


def test_without_an_answer() -> None:
    assert metrics_text(None, 80).plain == ""
    assert metrics_text(None, 80, status="loading\x1b[31m [b]x[/b]").plain == "loading[31m [b]x[/b]"
    assert metrics_text(None, 80, context_used={LLM: (5, 10)}).plain == "context LLM 5/10"


def test_an_answer_without_speed() -> None:
    started = Trace(seed=0)
    assert metrics_text(started, 80).plain == "LLM 0% · swaps ▲0 ▼0"
    # One token is not enough to measure the speed.
    started.tokens[LLM], started.ttft_ms, started.wall_ms = 1, 300.0, 300.0
    assert metrics_text(started, 80, llm_alone_ms=600.0).plain == (
        "LLM 100% · swaps ▲0 ▼0 · LLM alone ≈ 600 ms (2.0x) · first token 300 ms"
    )


def test_resumed_tokens_count_towards_the_share_but_not_the_speed() -> None:
    text = metrics_text(trace(resumed_tokens=100), 200).plain
    assert "LLM 25%" in text
    assert f"{99 / 5.69:.1f} tok/s" in text


@pytest.mark.parametrize(("used", "warning"), [(3600, False), (3700, True), (5000, True)])
def test_a_nearly_full_context_has_the_warning_style(used: int, warning: bool) -> None:
    for width in (200, 11):
        text = metrics_text(None, width, context_used={SLM: (10, 4096), LLM: (used, 4096)})
        assert any("warning" in str(span.style) for span in text.spans) == warning


@pytest.mark.parametrize(("ms", "text"), [(0.4, "0 ms"), (999.4, "999 ms"), (999.6, "1.0 s"), (123456, "123 s")])
def test_times(ms: float, text: str) -> None:
    assert f"first token {text} ·" in metrics_text(trace(ttft_ms=ms, wall_ms=ms + 1), 200).plain


class Host(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.metrics = AnswerMetrics()

    def compose(self) -> ComposeResult:
        yield self.metrics


def run(check: Callable[[Host, Pilot[None]], Awaitable[None]], size: tuple[int, int]) -> None:
    async def main() -> None:
        host = Host()
        async with host.run_test(size=size) as pilot:
            await pilot.pause()
            await check(host, pilot)

    asyncio.run(main())


def drawn(metrics: AnswerMetrics) -> list[str]:
    return [metrics.render_line(y).text.rstrip() for y in range(metrics.size.height)]


def test_the_widget_shows_the_metrics_that_fit() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.metrics.show(trace(), context_used=CONTEXT, llm_alone_ms=10800.0)
        await pilot.pause()
        assert drawn(host.metrics) == lines(40, llm_alone_ms=10800.0)
        await pilot.resize_terminal(180, 10)
        await pilot.pause()
        assert drawn(host.metrics) == lines(180, llm_alone_ms=10800.0)
        host.metrics.show(None, status="[b]loading")
        await pilot.pause()
        assert drawn(host.metrics) == ["[b]loading"]

    run(check, (40, 10))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_values_and_labels_have_different_colors(theme: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        host.metrics.show(trace(), context_used=CONTEXT)
        await pilot.pause()
        styles = {s.text.strip(): s.style for s in host.metrics.render_line(0) if s.style is not None}
        assert styles["swaps"].color is not None
        assert theme == "ansi-dark" or styles["swaps"].color != styles["▲12 ▼11"].color
        assert styles["LLM"].color != styles["swaps"].color

    run(check, (100, 10))
