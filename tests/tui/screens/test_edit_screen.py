from __future__ import annotations

import pytest
from dialog_shell import SIZES, STRANGE, Shell, result, run, seen, until
from textual import events
from textual.pilot import Pilot

from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.edit import EditScreen
from rstitch_tui.widgets.editor import Editor

TEXT = "One line,\nand another."


def editor(shell: Shell) -> Editor:
    return shell.screen.query_one(Editor)


def asked(shell: Shell) -> bool:
    return isinstance(shell.screen, ConfirmScreen)


@pytest.mark.parametrize("key", ["ctrl+g", "ctrl+enter"])
def test_a_text_is_changed_at_its_end(key: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("enter", "x", key)
        assert await result(shell, pilot) == f"{TEXT}\nx"

    run(lambda: EditScreen("Your message", TEXT), body)


def test_the_button_goes_on_as_well() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#go_on")
        assert await result(shell, pilot) == f"{TEXT}x"

    run(lambda: EditScreen("Your message", TEXT), body)


def test_the_buttons_are_reached_by_keys() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("tab", "enter")
        assert await result(shell, pilot) == TEXT

    run(lambda: EditScreen("Your message", TEXT), body)


def test_a_text_that_was_not_changed_comes_back_to_the_last_character() -> None:
    strange = f"tab\there\r\n{STRANGE}\x0b\u2028end\r\n"

    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "backspace", "ctrl+g")
        assert await result(shell, pilot) == strange

    run(lambda: EditScreen("Your message", strange), body)


def test_escape_leaves_what_was_not_changed_without_a_word() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "backspace", "escape")
        assert await result(shell, pilot) is None

    run(lambda: EditScreen("Your message", TEXT), body)


@pytest.mark.parametrize("go", [["escape"], ["enter"], ["right", "left", "enter"]])
def test_escape_asks_before_changes_are_lost(go: list[str]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "escape")
        await until(pilot, lambda: asked(shell))
        await pilot.press(*go)
        await until(pilot, lambda: not asked(shell))
        if len(go) == 1:
            assert shell.results == []
            await pilot.press("y", "ctrl+g")
            assert await result(shell, pilot) == f"{TEXT}xy"

    run(lambda: EditScreen("Your message", TEXT), body)


@pytest.mark.parametrize("how", ["keys", "mouse"])
def test_changes_are_left_when_one_says_so(how: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#leave")
        await until(pilot, lambda: asked(shell))
        if how == "keys":
            await pilot.press("left", "enter")
        else:
            await pilot.click("#yes")
        assert await result(shell, pilot) is None

    run(lambda: EditScreen("Your message", TEXT), body)


def test_nothing_is_no_text() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("backspace", "backspace", "ctrl+g")
        await until(pilot, lambda: "nothing to go on with" in seen(shell))
        assert shell.results == []
        await pilot.press("y", "ctrl+g")
        assert await result(shell, pilot) == "y"

    run(lambda: EditScreen("Your message", "ab"), body)


def test_what_is_pasted_commands_no_terminal() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        shell.post_message(events.Paste("one\r\n\x1b[31mtwo\x07"))
        await until(pilot, lambda: "two" in editor(shell).text)
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == "one\n[31mtwo"

    run(lambda: EditScreen("Your message", ""), body)


@pytest.mark.parametrize("size", SIZES)
def test_words_of_strangers_are_drawn_as_they_are(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        screen = seen(shell)
        assert screen.count("[red]x[/red] [31my[0m") == 2
        assert "\x1b" not in shell.export_screenshot()
        assert "^g Go on" in screen
        assert "esc Leave" in screen
        await pilot.press("x", "escape")
        await until(pilot, lambda: asked(shell))
        assert "Leave without what you changed?" in seen(shell)

    run(lambda: EditScreen(STRANGE, STRANGE), body, size=size)


def test_a_very_long_line_can_be_edited() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("y", "ctrl+g")
        assert await result(shell, pilot) == "x" * 20_000 + "y"

    run(lambda: EditScreen("Your message", "x" * 20_000), body)


@pytest.mark.parametrize(("keys", "answer"), [(["enter"], False), (["escape"], False), (["left", "enter"], True)])
def test_a_question_with_two_answers(keys: list[str], answer: bool) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "[red]x[/red] [31my[0m" in seen(shell)
        await pilot.press(*keys)
        assert await result(shell, pilot) is answer

    run(lambda: ConfirmScreen(STRANGE, "[b]Yes[/b]", "No"), body)
