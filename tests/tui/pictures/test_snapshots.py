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
from reduced import reduced
from still_life import Still, hold_still, standing
from textual.widgets import Input, TextArea

from rstitch_local.decoding.roles import Role
from rstitch_tui.screens.chats import ChatsScreen
from rstitch_tui.screens.context_full import ContextFullScreen
from rstitch_tui.screens.inspector import InspectorScreen

SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = "RSTITCH_RENEW"
SIZES = [(80, 24), (140, 45)]


async def chat(still: Still) -> None:
    await still.app.chat_screen.controller.show_chat()


async def tokens(still: Still) -> None:
    await still.app.chat_screen.controller.show_chat()
    await still.pilot.press("ctrl+t")


async def inspector(still: Still) -> None:
    """Inspect a swap to the LLM in the answer with thinking."""
    await still.pilot.press("escape", "up", "up", "i")
    screen = still.app.screen
    assert isinstance(screen, InspectorScreen)
    await still.pilot.press("p")
    await still.until(lambda: screen.index in screen._predictions)


async def models(still: Still) -> None:
    await still.pilot.press("f3", "down")


async def chats(still: Still) -> None:
    await still.pilot.press("ctrl+o")
    assert isinstance(still.app.screen, ChatsScreen)
    await still.pilot.press("down", "down")


async def settings(still: Still) -> None:
    await still.pilot.press("f4")


async def help_screen(still: Still) -> None:
    await still.pilot.press("f1")


async def context_full(still: Still) -> None:
    still.app.push_screen(ContextFullScreen({Role.SLM: (1024, 1024), Role.LLM: (1010, 1024)}, 4096, can_forget=True))


POSES: dict[str, Callable[[Still], Awaitable[None]]] = {
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
@pytest.mark.parametrize("name", POSES)
def test_screen_matches_its_snapshot(
    name: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = hold_still(monkeypatch, tmp_path)

    async def picture() -> str:
        async with standing(tmp_path, choice, size) as still:
            await POSES[name](still)
            await still.pilot.pause()
            for field in (*still.app.screen.query(TextArea), *still.app.screen.query(Input)):
                # Whether the cursor is drawn depends on the time.
                field.cursor_blink = False
            await still.pilot.pause()
            return still.app.export_screenshot()

    compare(SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt", reduced(asyncio.run(picture()), *size))


def compare(file: Path, now: str) -> None:
    """Fail with a diff if a file does not contain this text; rewrite the file if RSTITCH_RENEW is set."""
    if os.environ.get(RENEW):
        file.write_text(now, encoding="utf-8", newline="\n")
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before != now:
        changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", n=0, lineterm="")
        pytest.fail("\n".join([f"{file.name} differs; set {RENEW}=1 to rewrite it.", *changes]), False)
