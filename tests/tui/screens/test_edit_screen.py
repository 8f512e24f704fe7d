from __future__ import annotations

import pytest
from dialog_shell import SIZES, UNTRUSTED, Shell, result, run, seen, until
from textual import events
from textual.pilot import Pilot

from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.edit import EditScreen
from rstitch_tui.widgets.editor import Editor

TEXT = "One line,\nand another."


def editor(shell: Shell) -> Editor:
    return shell.screen.query_one(Editor)


def confirming(shell: Shell) -> bool:
    return isinstance(shell.screen, ConfirmScreen)


@pytest.mark.parametrize("key", ["ctrl+g", "ctrl+enter"])
def test_typing_appends_to_the_text(key: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("enter", "x", key)
        assert await result(shell, pilot) == f"{TEXT}\nx"

    run(lambda: EditScreen("Your message", TEXT), body)


def test_continue_button() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#continue")
        assert await result(shell, pilot) == f"{TEXT}x"

    run(lambda: EditScreen("Your message", TEXT), body)


def test_buttons_are_reached_by_keys() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("tab", "enter")
        assert await result(shell, pilot) == TEXT

    run(lambda: EditScreen("Your message", TEXT), body)


def test_unchanged_text_is_returned_exactly() -> None:
    strange = f"tab\there\r\n{UNTRUSTED}\x0b\u2028end\r\n"

    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "backspace", "ctrl+g")
        assert await result(shell, pilot) == strange

    run(lambda: EditScreen("Your message", strange), body)


def test_escape_closes_without_changes() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "backspace", "escape")
        assert await result(shell, pilot) is None

    run(lambda: EditScreen("Your message", TEXT), body)


@pytest.mark.parametrize("go", [["escape"], ["enter"], ["right", "left", "enter"]])
def test_escape_confirms_before_discarding_changes(go: list[str]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "escape")
        await until(pilot, lambda: confirming(shell))
        await pilot.press(*go)
        await until(pilot, lambda: not confirming(shell))
        if len(go) == 1:
            assert shell.results == []
            await pilot.press("y", "ctrl+g")
            assert await result(shell, pilot) == f"{TEXT}xy"

    run(lambda: EditScreen("Your message", TEXT), body)


@pytest.mark.parametrize("how", ["keys", "mouse"])
def test_confirmed_changes_are_discarded(how: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#cancel")
        await until(pilot, lambda: confirming(shell))
        if how == "keys":
            await pilot.press("left", "enter")
        else:
            await pilot.click("#yes")
        assert await result(shell, pilot) is None

    run(lambda: EditScreen("Your message", TEXT), body)


def test_empty_text_is_refused() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("backspace", "backspace", "ctrl+g")
        await until(pilot, lambda: "The text is empty" in seen(shell))
        assert shell.results == []
        await pilot.press("y", "ctrl+g")
        assert await result(shell, pilot) == "y"

    run(lambda: EditScreen("Your message", "ab"), body)


def test_pasted_control_characters_are_removed() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        shell.post_message(events.Paste("one\r\n\x1b[31mtwo\x07"))
        await until(pilot, lambda: "two" in editor(shell).text)
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == "one\n[31mtwo"

    run(lambda: EditScreen("Your message", ""), body)


@pytest.mark.parametrize("size", SIZES)
def test_untrusted_text_is_drawn_as_plain_text(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        screen = seen(shell)
        assert screen.count("[red]x[/red] [31my[0m") == 2
        assert "\x1b" not in shell.export_screenshot()
        assert "^g Continue" in screen
        assert "esc Cancel" in screen
        await pilot.press("x", "escape")
        await until(pilot, lambda: confirming(shell))
        assert "Discard your changes?" in seen(shell)

    run(lambda: EditScreen(UNTRUSTED, UNTRUSTED), body, size=size)


def test_very_long_line() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("y", "ctrl+g")
        assert await result(shell, pilot) == "x" * 20_000 + "y"

    run(lambda: EditScreen("Your message", "x" * 20_000), body)


@pytest.mark.parametrize(("keys", "answer"), [(["enter"], False), (["escape"], False), (["left", "enter"], True)])
def test_confirm_screen(keys: list[str], answer: bool) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "[red]x[/red] [31my[0m" in seen(shell)
        await pilot.press(*keys)
        assert await result(shell, pilot) is answer

    run(lambda: ConfirmScreen(UNTRUSTED, "[b]Yes[/b]", "No"), body)
