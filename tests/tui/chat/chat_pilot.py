"""Shared by the tests of the whole chat: the real app with the demo pair, polled instead of sleeping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.engine.run import Run
from rstitch_tui.app import ChatApp, Start
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.store.store import Store

POLLS = 1500


def question(index: int = 0) -> str:
    """Return a problem that the demo pair can solve."""
    return word_problems.generate(word_problems.EXAMPLES_SEED, index).question


def multi_turn_pair() -> PairChoice:
    """Return the demo pair with several turns allowed."""
    choice = choose_pair("demo")
    return replace(choice, defaults=replace(choice.defaults, single_turn=False))


class Gate:
    """Holds every answer after `after` steps until the gate is opened or the answer is stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()
        steps_of = Run.__iter__

        def held(run: Run) -> Generator[Step, None, None]:
            for count, step in enumerate(steps_of(run)):
                yield step
                if count == after:
                    self.reached.set()
                    while not self._open.wait(0.005):
                        if run._should_stop is not None and run._should_stop():
                            break

        monkeypatch.setattr(Run, "__iter__", held)

    def open(self) -> None:
        self._open.set()


class Chat:
    """The app under test and actions of a user."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], object], message: str = "") -> None:
        """Poll until a condition is true; fail with `message` if it never is."""
        for _ in range(POLLS):
            await self.pilot.pause(0.005)
            if condition():
                return
        raise AssertionError(message or "condition never became true")

    async def quiet(self) -> None:
        """Wait until no answer is being generated."""
        await self.until(lambda: self.app.session.answer is None, "the answer did not end")
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Type a text and press Enter."""
        self.app.chat_screen.composer.set_text(text)
        await self.pilot.press("enter")
        await self.pilot.pause()

    async def ask(self, text: str) -> str:
        """Ask a question and return its answer."""
        before = len(self.app.session.path)
        await self.send(text)
        await self.until(lambda: len(self.app.session.path) >= before + 2, "the question was not sent")
        await self.quiet()
        return self.app.session.path[-1].text

    def screen_text(self) -> str:
        """Return the text on the screen, line by line."""
        screen = self.app.screen
        return "\n".join(
            "".join(segment.text for segment in line) for line in screen._compositor.render_strips(screen.size)
        )

    @property
    def notices(self) -> list[str]:
        """The notifications."""
        return [f"{n.title} {n.message}" for n in self.app._notifications]


@asynccontextmanager
async def chatting(
    folder: Path,
    *,
    choice: PairChoice | None = None,
    size: tuple[int, int] = (120, 40),
    settings: AppSettings | None = None,
    options: LoadOptions | None = None,
    router: str | None = None,
    resume: bool = False,
    loaded: bool = True,
) -> AsyncIterator[Chat]:
    """Run the chat on a database in `folder`, with the demo pair loaded."""
    with Store(folder / "chats.sqlite3") as store:
        start = Start(choice or multi_turn_pair(), options or LoadOptions(), router, resume)
        app = ChatApp(store, settings, start)
        async with app.run_test(size=size) as pilot:
            chat = Chat(app, pilot)
            if loaded:
                await chat.until(lambda: app.models.ready, "the pair was not loaded")
                await pilot.pause()
            yield chat
            await app.leave()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous test."""
    asyncio.run(_awaited(test))


async def _awaited(test: Callable[[], Awaitable[None]]) -> None:
    await test()
