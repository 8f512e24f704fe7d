from __future__ import annotations

import pytest
from dialog_shell import SIZES, Shell, result, run, seen, until
from textual.pilot import Pilot

from rstitch_tui.keys import ACTIONS, PLACES, key_names, resolve
from rstitch_tui.screens.help import HelpScreen, TopicRows, topics
from rstitch_tui.slash_table import COMMANDS


def test_help_is_complete() -> None:
    help_topics = topics({})
    rows = [row for topic in help_topics for row in topic.rows]
    for action in ACTIONS:
        assert (key_names(action.keys), action.help) in rows
    for command in COMMANDS.values():
        assert (command.usage, f"{command.description}.") in rows
    assert [topic.heading for topic in help_topics if topic.heading in PLACES.values()] == list(PLACES.values())
    about = " ".join(text for _, text in help_topics[0].rows)
    assert len(help_topics[0].rows) == 5
    for word in ("SLM", "LLM", "underline", "Tau", "not identical to that of the LLM alone", "settings.toml"):
        assert word in about


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ("ctrl+n", "Ctrl-N"),
        ("ctrl+j,shift+enter", "Ctrl-J, Shift-Enter"),
        ("f8,ctrl+down", "F8, Ctrl-↓"),
        ("escape", "Esc"),
        ("e", "e"),
        ("E", "E"),
    ],
)
def test_key_names(keys: str, names: str) -> None:
    assert key_names(keys) == names


def test_remapped_keys_are_shown() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*"start a new chat")
        await until(pilot, lambda: "F12" in seen(shell))
        assert "Ctrl-N" not in seen(shell)

    run(lambda: HelpScreen(resolve({"new_chat": "f12"})), body)


def test_search() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "About" in seen(shell)
        await pilot.press(*"COPY code")
        await until(pilot, lambda: "About" not in seen(shell))
        screen = seen(shell)
        assert "Copy the last code block of the message." in screen
        assert "/code" in screen
        assert "/theme" not in screen
        await pilot.press(*"zzz")
        await until(pilot, lambda: "No key or command matches COPY codezzz" in seen(shell))
        await pilot.press("escape")
        assert await result(shell, pilot) is None

    run(lambda: HelpScreen({}), body)


@pytest.mark.parametrize("size", SIZES)
def test_scroll_to_the_last_command(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        pages = shell.screen.query_one("#pages")
        assert "/quit" not in seen(shell)
        await pilot.press("down", "down", "up")
        await until(pilot, lambda: pages.scroll_y == 1)
        await pilot.press("pageup")
        for _ in range(60):
            await pilot.press("pagedown")
            if pages.scroll_y == pages.max_scroll_y:
                break
        assert "/quit" in seen(shell)
        assert "esc Close" in seen(shell)

    run(lambda: HelpScreen({}), body, size=size)


def test_rows_fit_the_width() -> None:
    for topic in topics({}):
        lines = TopicRows(topic.rows, topic.column)
        for width in (20, 34, 55, 56, 74, 130):
            content = lines.content(width)
            assert max(line.cell_length for line in content.split("\n")) <= width
            assert lines.get_height({}, width) == len(content.split("\n"))
            words = "".join(content.plain.split())
            assert all("".join(text.split()) in words for _, text in topic.rows) or width >= 56
