from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.color import Color
from textual.pilot import Pilot

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.contrast import GRAPHICS_CONTRAST, contrast_ratio
from rstitch_tui.widgets.entropy_strip import EntropyStrip

SLM, LLM = Role.SLM, Role.LLM


def step(entropy: float, role: Role = SLM, swap_entropy: float | None = None) -> Step:
    return Step(0, role, 7, "x", entropy, 0.9, 1, 1.0, swap_entropy)


class Host(App[None]):
    def __init__(self, height: int) -> None:
        super().__init__()
        self.strip = EntropyStrip(0.02)
        self.strip.styles.height = height

    def compose(self) -> ComposeResult:
        yield self.strip


def run(
    check: Callable[[Host, Pilot[None]], Awaitable[None]], *, height: int = 4, size: tuple[int, int] = (40, 10)
) -> None:
    async def main() -> None:
        host = Host(height)
        async with host.run_test(size=size) as pilot:
            await pilot.pause()
            await check(host, pilot)

    asyncio.run(main())


def lines(strip: EntropyStrip) -> list[str]:
    return [strip.render_line(y).text.rstrip() for y in range(strip.size.height)]


def test_bars_scale_and_marks() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        strip = host.strip
        assert lines(strip) == ["        1 │", "τ 0.020   ├" + "┄" * 29, "          │", ""]
        strip.extend([step(0.0), step(0.003), step(0.02), step(0.1, LLM, 0.5), step(0.2, LLM), step(0.5)])
        strip.extend([step(1.0, LLM, 1.0)])
        assert lines(strip) == [
            "        1 │   ▆▃▆█",
            "τ 0.020   ├┄┄▄████" + "┄" * 22,
            "          │▁▆█████",
            "              ▲━▼▲",
        ]

    run(check)


def test_at_a_swap_the_bar_is_the_entropy_of_the_slm() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        host.strip.extend([step(0.0, LLM, 0.5)])
        with_swap_entropy = lines(host.strip)
        host.strip.show([step(0.5, LLM)])
        assert [line.replace("━", "▲") for line in lines(host.strip)] == with_swap_entropy

    run(check)


def test_the_line_of_tau_follows_tau() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        for tau, row in ((1.0, 0), (0.3, 0), (0.02, 1), (0.001, 2), (0.0, 2)):
            host.strip.tau = tau
            await pilot.pause()
            assert [("┄" in line, "├" in line) for line in lines(host.strip)] == [(y == row,) * 2 for y in range(4)]
        host.strip.tau = None
        assert not any("┄" in line or "τ" in line for line in lines(host.strip))

    run(check)


def test_the_last_tokens_that_fit_are_drawn() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.strip.extend([step(0.0)] * 100 + [step(1.0)] * 3)
        assert lines(host.strip)[2] == "          │" + "▁" * 26 + "███"
        await pilot.resize_terminal(33, 10)
        await pilot.pause()
        assert lines(host.strip)[2] == "          │" + "▁" * 19 + "███"
        # Narrow strips have no scale.
        await pilot.resize_terminal(12, 10)
        await pilot.pause()
        assert lines(host.strip)[2] == "▁" * 9 + "███"
        host.strip.clear()
        assert lines(host.strip)[2] == ""

    run(check)


@pytest.mark.parametrize("height", range(1, 9))
def test_any_height(height: int) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        host.strip.extend([step(1.0), step(1.0, LLM, 1.0), step(0.0)])
        drawn = lines(host.strip)
        assert len(drawn) == height
        assert sum(line[11:12] == "█" for line in drawn) == max(1, height - 1)
        assert ("◆" in drawn[-1]) == (height > 1)
        underlined = [s.text for s in host.strip.render_line(0) if s.style is not None and s.style.underline]
        assert underlined == (["█"] if height == 1 else [])

    run(check, height=height)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "nord"])
def test_the_models_have_different_colors_with_enough_contrast(theme: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        host.strip.extend([step(1.0), step(1.0, LLM)])
        await pilot.pause()
        styles = [s.style for s in host.strip.render_line(2) if s.style is not None and "█" in s.text]
        assert len(styles) == 2
        assert styles[0].color != styles[1].color
        for style in styles:
            assert style.color is not None
            assert style.bgcolor is not None
            color, background = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
            assert contrast_ratio(color, background) >= GRAPHICS_CONTRAST

    run(check)


STEPS = st.lists(st.builds(step, st.floats(0, 1), st.sampled_from(Role), st.none() | st.floats(0, 1)), max_size=60)


@settings(max_examples=20, deadline=None)
@given(STEPS, st.integers(0, 60), st.integers(1, 50))
def test_appending_one_by_one_draws_the_same(steps: list[Step], cut: int, width: int) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        host.strip.extend(steps[:cut])
        for one in steps[cut:]:
            host.strip.extend([one])
        one_by_one = [host.strip.render_line(y) for y in range(4)]
        assert all(strip.cell_length == width for strip in one_by_one)
        host.strip.show(steps)
        assert [host.strip.render_line(y) for y in range(4)] == one_by_one

    run(check, size=(width, 10))


def test_a_swap_before_the_first_drawn_token() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        host.strip.extend([step(0.1, LLM)] + [step(0.1)] * 1000)
        mark = host.strip._bars[0].mark
        host.strip.show([step(0.1)] * 1001)
        assert (mark, host.strip._bars[0].mark) == ("▼", " ")

    run(check)


def test_a_long_answer_keeps_only_the_tokens_it_can_draw(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the times."""

    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        one = [step(0.01)]
        started = time.perf_counter()
        for _ in range(20_000):
            host.strip.extend(one)
        extend_s = time.perf_counter() - started
        started = time.perf_counter()
        assert len(lines(host.strip)) == 4
        draw_s = time.perf_counter() - started
        assert len(host.strip._bars) <= 1000
        with capsys.disabled():
            print(f"\nextended by 20,000 tokens in {extend_s * 1e3:.0f} ms; drawn in {draw_s * 1e3:.1f} ms")

    run(check, size=(140, 10))
