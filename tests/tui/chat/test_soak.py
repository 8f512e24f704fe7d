"""200 turns with the real app: memory, database, widgets and threads do not grow."""

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
"""Turns after which everything that is created once exists."""
MIDDLE = 125
TURNS_A_CHAT = 5
TOKENS_A_TURN = 24
MOST_GROWTH = 40 << 20
MOST_BYTES_A_TOKEN = 250
"""Bytes of the database per token of an answer: metrics, text, share of the question, search index."""
MOST_WIDGETS = 250
MOST_MORE_ALIVE = 50
SCREENS = {6: "f1", 12: "ctrl+g", 16: "f4"}
KEYS = {3: "ctrl+t", 9: "ctrl+f", 13: "ctrl+t", 18: "ctrl+f"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


class Blocks:
    """Blocks of the event loop: the longest with its turn, and the number over 50 ms."""

    def __init__(self) -> None:
        self.turn = 0
        self.longest = (0.0, 0)
        self.over = 0
        self.busy = False
        """Whether the test itself has blocked the loop."""

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
    """Resources that the app uses."""

    resident: int
    database: int
    tokens: int
    threads: int
    alive: int
    """Widgets in memory, mounted or not."""

    @classmethod
    def of(cls, chat: Chat, tokens: int) -> Use:
        gc.collect()
        database = chat.app.store._database
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.path.stat().st_size
        alive = sum(isinstance(each, Widget) for each in gc.get_objects())
        # Threads of asyncio for blocking calls are created on demand up to a limit.
        threads = sum(not thread.name.startswith("asyncio") for thread in threading.enumerate())
        return cls(psutil.Process().memory_info().rss, size, tokens, threads, alive)


async def until(condition: Callable[[], object]) -> None:
    """Poll without waiting for an idle process as the pilot does, because the event loop is being watched."""
    for _ in range(10_000):
        await asyncio.sleep(0.002)
        if condition():
            return
    raise AssertionError("condition never became true")


async def turn_of(chat: Chat, turn: int) -> None:
    """Do something occasional, then ask a question or, every tenth time, regenerate the last answer."""
    app, session = chat.app, chat.app.session
    if turn % 15 == 4 and turn > 15:
        # Return to the previous chat for one turn.
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
        started = time.monotonic()
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
                f"\n{TURNS} turns, {tokens} tokens in {time.monotonic() - started:.0f} s; resident memory "
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
