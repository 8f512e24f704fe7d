"""The main screens match the files in snapshots/: characters and styles.

After an intended change, set RSTITCH_RENEW=1 to rewrite the snapshots, and look at them.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fixed_chat import FixedChat, fix_environment, fixed_chat
from screenshot_text import screenshot_text
from textual.widgets import Input, TextArea

from rstitch_local.decoding.roles import Role
from rstitch_tui.screens.chats import ChatsScreen
from rstitch_tui.screens.context_full import ContextFullScreen
from rstitch_tui.screens.inspector import InspectorScreen

SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = "RSTITCH_RENEW"
SIZES = [(80, 24), (140, 45)]


async def chat(chat: FixedChat) -> None:
    await chat.app.chat_screen.controller.show_chat()


async def tokens(chat: FixedChat) -> None:
    await chat.app.chat_screen.controller.show_chat()
    await chat.pilot.press("ctrl+t")


async def inspector(chat: FixedChat) -> None:
    """Inspect a swap to the LLM in the answer with thinking."""
    await chat.pilot.press("escape", "up", "up", "i")
    screen = chat.app.screen
    assert isinstance(screen, InspectorScreen)
    await chat.pilot.press("p")
    await chat.until(lambda: screen.index in screen._predictions)


async def models(chat: FixedChat) -> None:
    await chat.pilot.press("f3", "down")


async def chats(chat: FixedChat) -> None:
    await chat.pilot.press("ctrl+o")
    assert isinstance(chat.app.screen, ChatsScreen)
    await chat.pilot.press("down", "down")


async def settings(chat: FixedChat) -> None:
    await chat.pilot.press("f4")


async def help_screen(chat: FixedChat) -> None:
    await chat.pilot.press("f1")


async def context_full(chat: FixedChat) -> None:
    chat.app.push_screen(ContextFullScreen({Role.SLM: (1024, 1024), Role.LLM: (1010, 1024)}, 4096, can_forget=True))


SCREENS: dict[str, Callable[[FixedChat], Awaitable[None]]] = {
    "chat": chat,
    "tokens": tokens,
    "inspector": inspector,
    "models": models,
    "chats": chats,
    "settings": settings,
    "help": help_screen,
    "context_full": context_full,
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
def test_screen_matches_its_snapshot(
    name: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = fix_environment(monkeypatch, tmp_path)

    async def screenshot() -> str:
        async with fixed_chat(tmp_path, choice, size) as chat:
            await SCREENS[name](chat)
            await chat.pilot.pause()
            for field in (*chat.app.screen.query(TextArea), *chat.app.screen.query(Input)):
                # Whether the cursor is drawn depends on the time.
                field.cursor_blink = False
            await chat.pilot.pause()
            return chat.app.export_screenshot()

    compare(SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt", screenshot_text(asyncio.run(screenshot()), *size))


def compare(file: Path, now: str) -> None:
    """Fail with a diff if a file does not contain this text; rewrite the file if RSTITCH_RENEW is set."""
    if os.environ.get(RENEW):
        file.write_text(now, encoding="utf-8", newline="\n")
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before != now:
        changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", n=0, lineterm="")
        pytest.fail("\n".join([f"{file.name} differs; set {RENEW}=1 to rewrite it.", *changes]), False)
