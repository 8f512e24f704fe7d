from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Static

from rstitch_tui.widgets.entropy_scale import SCALE_MIN, entropy_at, format_tau, position_of, stepped
from rstitch_tui.widgets.tau_slider import TauSlider


class Host(App[None]):
    CSS = "Static { height: 60; }"

    def __init__(self, value: float | None) -> None:
        super().__init__()
        self.slider = TauSlider(value)
        self.changes: list[float] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield self.slider
            yield Static()

    def on_tau_slider_changed(self, event: TauSlider.Changed) -> None:
        assert event.control is self.slider
        assert event.value == self.slider.value
        self.changes.append(event.value)


def run(
    check: Callable[[Host, Pilot[None]], Awaitable[None]], value: float | None, *, size: tuple[int, int] = (60, 10)
) -> None:
    async def main() -> None:
        host = Host(value)
        async with host.run_test(size=size) as pilot:
            host.slider.focus()
            await pilot.pause()
            await check(host, pilot)

    asyncio.run(main())


def line(slider: TauSlider) -> str:
    return slider.render_line(0).text.rstrip()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.02, "τ 0.020   ├──────●───────┤"),
        (SCALE_MIN, "τ 0.00050 ├●─────────────┤"),
        (1.0, "τ 1 (off) ├─────────────●┤"),
        (0.35, "τ 0.35    ├───────────●──┤"),
        # A value set by a command may be outside the track.
        (0.0, "τ 0       ├●─────────────┤"),
        (-1.0, "τ -1      ├●─────────────┤"),
        (None, "τ –       ├──────────────┤"),
    ],
)
def test_one_line(value: float | None, text: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert line(host.slider) == text
        assert host.slider.size.height == 1

    run(check, value, size=(28, 10))


def test_keys_move_the_knob_and_post_changes() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.press("right", "left", "left", "shift+right", "shift+left", "pageup", "pagedown", "home", "left")
        await pilot.press("end", "right")
        assert host.changes == [0.022, 0.02, 0.018, 0.032, 0.018, 0.032, 0.018, SCALE_MIN, 1.0]

    run(check, 0.02)


def test_assigning_the_value_posts_no_change() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.slider.value = 0.35
        await pilot.pause()
        assert "0.35" in line(host.slider)
        assert host.changes == []

    run(check, 0.02)


def test_without_tau_the_slider_is_disabled() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        assert not host.slider.has_focus
        await pilot.click(host.slider, offset=(30, 0))
        host.slider.action_move(1)
        assert (host.slider.value, host.changes) == (None, [])
        host.slider.value = 0.5
        host.slider.focus()
        await pilot.pause()
        assert host.slider.has_focus
        await pilot.mouse_down(host.slider, offset=(30, 0))
        changes = list(host.changes)
        assert len(changes) == 1
        # A router without tau is chosen during a drag.
        host.slider.value = None
        await pilot.pause()
        assert host.mouse_captured is None
        assert not host.slider.has_focus
        await pilot.hover(host.slider, offset=(12, 0))
        assert (host.slider.value, host.changes) == (None, changes)

    run(check, None)


def test_the_mouse_drags_the_knob() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        end = host.slider.size.width - 1
        await pilot.mouse_down(host.slider, offset=(end - 1, 0))
        assert host.slider.value == 1.0
        await pilot.hover(host.slider, offset=(20, 0))
        await pilot.hover(host.slider, offset=(11, 0))
        await pilot.hover(host.slider, offset=(0, 0))
        await pilot.mouse_up(host.slider, offset=(0, 0))
        await pilot.hover(host.slider, offset=(30, 0))
        assert host.changes[0] == 1.0
        assert SCALE_MIN < host.changes[1] < 0.02
        assert host.changes[2:] == [SCALE_MIN]
        # The value is not part of the track.
        host.slider.value = 0.5
        await pilot.click(host.slider, offset=(3, 0))
        assert len(host.changes) == 3

    run(check, 0.02)


def test_a_click_on_the_knob_does_not_change_tau() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.click(host.slider, offset=(line(host.slider).index("●"), 0))
        assert host.changes == []
        await pilot.click(host.slider, offset=(line(host.slider).index("●") + 1, 0))
        assert host.changes == [host.slider.value]
        assert host.slider.value != 0.0213

    run(check, 0.0213)


def test_the_wheel_moves_the_knob_and_does_not_scroll() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        for turn in (events.MouseScrollUp, events.MouseScrollDown, events.MouseScrollDown):
            host.slider.post_message(turn(host.slider, 20, 0, 0, 0, 0, False, False, False))
            await pilot.pause()
        assert host.changes == [0.022, 0.02, 0.018]
        assert host.query_one(VerticalScroll).scroll_y == 0

    run(check, 0.02)


@pytest.mark.parametrize(("width", "text"), [(19, "τ 0.020   ├──●──┤"), (12, "τ 0.020"), (4, "τ 0.020")])
def test_narrow_sliders(width: int, text: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        # The scrollbar takes two columns.
        assert line(host.slider) == text
        await pilot.resize_terminal(40, 10)
        await pilot.pause()
        assert line(host.slider).endswith("┤")

    run(check, 0.02, size=(width, 10))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_the_two_sides_of_the_knob_have_different_colors(theme: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        await pilot.pause()
        colors = [s.style.color for s in host.slider.render_line(0) if s.style is not None and "─" in s.text]
        assert len(set(colors)) == 2

    run(check, 0.02)


@given(st.floats(0, 1), st.integers(1, 6))
def test_a_step_back_returns_to_the_same_value(position: float, steps: int) -> None:
    start = stepped(entropy_at(position), 1)
    up = stepped(start, steps)
    assert up >= start
    assert stepped(up, -steps) == start or up == 1.0
    assert stepped(start, -1) < start


@given(st.floats(0, 1))
def test_values_have_two_digits_and_are_on_the_scale(position: float) -> None:
    value = entropy_at(position)
    assert SCALE_MIN <= value <= 1
    assert float(f"{value:.2g}") == value
    assert float(format_tau(value)) == value
    assert position_of(value) == pytest.approx(position, abs=0.01)


def test_positions_of_small_and_large_entropies() -> None:
    assert [round(position_of(value), 2) for value in (0.0, SCALE_MIN, 0.02, 0.5, 1.0, 3.0)] == [0, 0, 0.49, 0.91, 1, 1]
