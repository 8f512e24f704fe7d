from __future__ import annotations

import pytest
from dialog_shell import SIZES, Shell, result, run, seen, until
from textual.pilot import Pilot

from rstitch_local.decoding.roles import Role
from rstitch_tui.screens.room import RoomScreen, larger_context

FULL = {Role.SLM: (4096, 4096), Role.LLM: (4090, 4096)}


@pytest.mark.parametrize(
    ("keys", "choice"),
    [(["enter"], "drop"), (["down", "enter"], "raise"), (["down", "down", "enter"], None), (["escape"], None)],
)
def test_each_way_is_chosen_by_keys(keys: list[str], choice: str | None) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        assert await result(shell, pilot) == choice

    run(lambda: RoomScreen(FULL, 32768, True), body)


def test_a_click_chooses() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.click("RoomWays", offset=(4, 2))
        assert await result(shell, pilot) == "raise"

    run(lambda: RoomScreen(FULL, 32768, True), body)


@pytest.mark.parametrize("size", SIZES)
def test_it_says_the_figures(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        words = " ".join(seen(shell).replace("│", " ").split())
        assert "the SLM holds 4,096 of 4,096 tokens, the LLM holds 4,090 of 4,096 tokens." in words
        await pilot.press("down")
        words = " ".join(seen(shell).replace("│", " ").split())
        assert "Load again with 8,192 tokens" in words
        assert "1.20 GB" in words or size[1] == 10
        await pilot.press("down")
        await until(pilot, lambda: "The chat stays as it is" in " ".join(seen(shell).split()))
        box = shell.screen.query_one(".box")
        assert box.region.height < 16

    run(lambda: RoomScreen(FULL, 32768, True, 1_200_000_000), body, size=size)


def test_what_is_not_possible_says_why_and_cannot_be_chosen() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        screen = seen(shell)
        assert "only the last question is left" in screen
        assert "no more than 4,096 tokens" in screen
        await pilot.click("RoomWays", offset=(4, 0))
        await pilot.click("RoomWays", offset=(4, 2))
        assert shell.results == []
        await pilot.press("up", "enter")
        assert await result(shell, pilot) is None

    run(lambda: RoomScreen(FULL, 4096, False), body)


def test_it_can_do_without_figures() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "Load again with twice the context" in seen(shell)
        await pilot.press("down", "enter")
        assert await result(shell, pilot) == "raise"

    run(lambda: RoomScreen({}, 8192, True), body)


def test_twice_the_context_as_far_as_it_goes() -> None:
    assert larger_context(FULL, 32768) == 8192
    assert larger_context(FULL, 6000) == 6000
    assert larger_context(FULL, 4096) is None
    assert larger_context({Role.SLM: (1, 2048), Role.LLM: (1, 4096)}, 32768) == 4096
