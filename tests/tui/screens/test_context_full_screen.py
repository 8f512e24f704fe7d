from __future__ import annotations

import pytest
from dialog_shell import SIZES, Shell, result, run, seen, until
from textual.pilot import Pilot

from rstitch_local.decoding.roles import Role
from rstitch_tui.model_loader import larger_context
from rstitch_tui.screens.context_full import ContextFullScreen

FULL = {Role.SLM: (4096, 4096), Role.LLM: (4090, 4096)}


@pytest.mark.parametrize(
    ("keys", "choice"),
    [(["enter"], "forget"), (["down", "enter"], "reload"), (["down", "down", "enter"], None), (["escape"], None)],
)
def test_options_are_chosen_by_keys(keys: list[str], choice: str | None) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        assert await result(shell, pilot) == choice

    run(lambda: ContextFullScreen(FULL, 32768, can_forget=True), body)


def test_click_chooses() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.click("ContextOptions", offset=(4, 2))
        assert await result(shell, pilot) == "reload"

    run(lambda: ContextFullScreen(FULL, 32768, can_forget=True), body)


@pytest.mark.parametrize("size", SIZES)
def test_use_of_the_context_is_shown(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        words = " ".join(seen(shell).replace("│", " ").split())
        assert "SLM 4,096 of 4,096 tokens, LLM 4,090 of 4,096 tokens." in words
        await pilot.press("down")
        words = " ".join(seen(shell).replace("│", " ").split())
        assert "Reload with 8,192 tokens" in words
        await pilot.press("down")
        await until(pilot, lambda: "Leave the chat and" in " ".join(seen(shell).split()))
        box = shell.screen.query_one(".box")
        assert box.region.height < 16

    run(lambda: ContextFullScreen(FULL, 32768, can_forget=True), body, size=size)


def test_impossible_options_show_the_reason() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        screen = seen(shell)
        assert "only the last question is left" in screen
        assert "at most 4,096 tokens" in screen
        await pilot.click("ContextOptions", offset=(4, 0))
        await pilot.click("ContextOptions", offset=(4, 2))
        assert shell.results == []
        await pilot.press("up", "enter")
        assert await result(shell, pilot) is None

    run(lambda: ContextFullScreen(FULL, 4096, can_forget=False), body)


def test_unknown_use_of_the_context() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "Reload with twice the context" in seen(shell)
        await pilot.press("down", "enter")
        assert await result(shell, pilot) == "reload"

    run(lambda: ContextFullScreen({}, 8192, can_forget=True), body)


def test_larger_context() -> None:
    assert larger_context(FULL, 32768) == 8192
    assert larger_context(FULL, 6000) == 6000
    assert larger_context(FULL, 4096) is None
    assert larger_context({Role.SLM: (1, 2048), Role.LLM: (1, 4096)}, 32768) == 4096


def test_context_that_holds_a_long_prompt_is_offered() -> None:
    too_long = {Role.SLM: (6300, 1024), Role.LLM: (6280, 1024)}
    assert larger_context(too_long, 32768) == 8192
    assert larger_context(too_long, 6400) == 6400
    assert larger_context(too_long, 6000) is None
    assert larger_context({Role.SLM: (2048, 1024)}, 32768) == 4096

    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        words = " ".join(seen(shell).replace("│", " ").split())
        assert "SLM 6,300 tokens, its context holds 1,024; LLM 6,280 tokens" in words
        assert "Reload with 8,192 tokens" in words
        await pilot.press("escape")

    run(lambda: ContextFullScreen(too_long, 32768, can_forget=False), body)
