"""A long day with the chat: 200 turns through the real app, after which it needs no more than before."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from chat_pilot import Chat, chatting, question, run
from textual.widget import Widget

from rstitch_tui.actions import chats, settings
from rstitch_tui.screens.chat import ChatScreen

TURNS = 200
SETTLED = 50
"""Turns after which everything that is made only once has been made."""
MIDDLE = 125
TURNS_A_CHAT = 5
TOKENS_A_TURN = 24
MOST_GROWTH = 40 << 20
MOST_BYTES_A_TOKEN = 250
"""Of the database, for an answer's token: its figures and text, its share of the question, and the search index."""
MOST_WIDGETS = 250
MOST_MORE_ALIVE = 50
SCREENS = {6: "f1", 12: "ctrl+g", 16: "f4"}
KEYS = {3: "ctrl+t", 9: "ctrl+f", 13: "ctrl+t", 18: "ctrl+f"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


class Blocks:
    """How long the event loop did not come round: the longest time and its turn, and how often it was over 50 ms."""

    def __init__(self) -> None:
        self.turn = 0
        self.longest = (0.0, 0)
        self.over = 0
        self.busy = False
        """The test itself held the loop up."""

    async def watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            took = time.monotonic() - before - 0.001
            if self.busy:
                self.busy = False
                continue
            self.longest = max(self.longest, (took, self.turn))
            self.over += took > 0.05


@dataclass(frozen=True)
class Use:
    """What the app takes up."""

    resident: int
    database: int
    tokens: int
    threads: int
    alive: int
    """Widgets in memory, on screen or not."""

    @classmethod
    def of(cls, chat: Chat, tokens: int) -> Use:
        gc.collect()
        database = chat.app.store._database
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.path.stat().st_size
        alive = sum(isinstance(found, Widget) for found in gc.get_objects())
        # Those in which asyncio runs what blocks come as they are needed, up to a number of their own.
        threads = sum(not thread.name.startswith("asyncio") for thread in threading.enumerate())
        return cls(psutil.Process().memory_info().rss, size, tokens, threads, alive)


async def until(condition: Callable[[], object]) -> None:
    """Poll without waiting for the process to fall idle, as the pilot does: the loop is being watched all the time."""
    for _ in range(10_000):
        await asyncio.sleep(0.002)
        if condition():
            return
    raise AssertionError("it never came to be")


async def turn_of(chat: Chat, turn: int) -> None:
    """What somebody does now and then, and a question or, every tenth time, the last one again."""
    app, session = chat.app, chat.app.session
    if turn % 15 == 4 and turn > 15:
        # Back to the chat before, for one more turn: after it a new one begins.
        await chats.open_chat(app.chat_screen.controller, app.store.chats()[1].id)
    elif turn % TURNS_A_CHAT == 0:
        app.simulate_key("ctrl+n")
        await until(lambda: session.chat is None)
    elif turn % 20 in SCREENS:
        app.simulate_key(SCREENS[turn % 20])
        await until(lambda: not isinstance(app.screen, ChatScreen))
        app.simulate_key("escape")
        await until(lambda: isinstance(app.screen, ChatScreen))
    elif turn % 20 in KEYS:
        app.simulate_key(KEYS[turn % 20])
    elif turn % 20 == 7:
        settings.set_tau(app.chat_screen.controller, 0.001 * (1 + turn % 3))
    before = session.path[-1].id if session.path else 0
    if turn % 10 == 4:
        app.simulate_key("ctrl+r")
    else:
        app.chat_screen.composer.set_text(question(turn))
        app.chat_screen.composer.focus()
        app.simulate_key("enter")
    await until(lambda: session.path and session.path[-1].id > before and session.answer is None)


def test_two_hundred_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def flow() -> None:
        blocks = Blocks()
        uses: list[Use] = []
        tokens = widgets = 0
        begun = time.monotonic()
        async with chatting(tmp_path, router="entropy:0.02", size=(100, 30)) as chat:
            watching = asyncio.create_task(blocks.watch())
            chat.app.session.set_defaults(max_tokens=TOKENS_A_TURN)
            for turn in range(TURNS):
                blocks.turn = turn
                await turn_of(chat, turn)
                message = chat.app.session.path[-1]
                assert message.stop in ("eog", "length"), message.error
                assert message.totals is not None
                tokens += sum(message.totals["tokens"].values())
                widgets = max(widgets, len(list(chat.app.screen.walk_children())))
                if turn + 1 in (SETTLED, MIDDLE, TURNS):
                    uses.append(Use.of(chat, tokens))
                    blocks.busy = True
            watching.cancel()
            assert len(chat.app.store.chats()) == TURNS // TURNS_A_CHAT
            assert len(chat.app.screen_stack) == 2
        settled, middle, end = uses
        growth = [
            (two.database - one.database) / (two.tokens - one.tokens) for one, two in ((settled, middle), (middle, end))
        ]
        with capsys.disabled():
            print(
                f"\n{TURNS} turns, {tokens} tokens in {time.monotonic() - begun:.0f} s; resident memory "
                f"{settled.resident / 1e6:.0f} MB after {SETTLED} turns, {end.resident / 1e6:.0f} MB at the end; "
                f"database {growth[0]:.0f}, then {growth[1]:.0f} bytes a token; {widgets} widgets at most, "
                f"{settled.alive} and then {end.alive} in memory; "
                f"{end.threads} threads of its own; longest block of the event loop {blocks.longest[0] * 1e3:.0f} ms "
                f"(turn {blocks.longest[1] + 1}), {blocks.over} over 50 ms"
            )
        assert end.resident - settled.resident < MOST_GROWTH
        assert max(growth) < MOST_BYTES_A_TOKEN
        assert growth[1] < 1.5 * growth[0]
        assert widgets < MOST_WIDGETS
        assert end.alive < settled.alive + MOST_MORE_ALIVE
        assert end.threads <= settled.threads

    run(flow)
