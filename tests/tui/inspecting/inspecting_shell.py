"""A bare app around one screen, with a real engine thread, and the few moves its tests need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from tiny_pair import TinyPair

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Answer, Request
from rstitch_tui.engine_events import AnswerEnded, Loaded, LoadFailed, Unloaded
from rstitch_tui.engine_thread import EngineThread

QUESTION = [{"role": "user", "content": "Hello, you two."}]
# The tiny models' entropies lie around this, so that control passes often.
ROUTER = "entropy:0.2"


class Shell(App[None]):
    """Nothing but an engine thread, and what it reported."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = EngineThread(self.post_message)
        self.seen: list[object] = []

    def on_loaded(self, event: Loaded) -> None:
        self.seen.append(event)

    def on_load_failed(self, event: LoadFailed) -> None:
        raise event.error

    def on_unloaded(self, event: Unloaded) -> None:
        self.seen.append(event)

    def on_answer_ended(self, event: AnswerEnded) -> None:
        self.seen.append(event.answer)


ShellPilot = Pilot[None]
Body = Callable[[Shell, ShellPilot], Awaitable[None]]


async def until(pilot: ShellPilot, condition: Callable[[], object]) -> None:
    """Let the app work until something is so."""
    for _ in range(3000):
        if condition():
            return
        await pilot.pause()
    raise AssertionError("it never came to that")


async def load(shell: Shell, pilot: ShellPilot, pair: TinyPair, context: int = 256) -> None:
    """Load a pair."""
    before = len(shell.seen)
    shell.engine.load(PairChoice("tiny", pair.slm, pair.llm), LoadOptions(context=context))
    await until(pilot, lambda: len(shell.seen) > before)


async def answer(shell: Shell, pilot: ShellPilot, **options: Any) -> tuple[Request, Trace]:
    """Have an answer written, greedily unless told otherwise."""
    request = request_for(**options)
    wanted = Answer(request)
    shell.engine.generate(wanted)
    await until(pilot, lambda: wanted in shell.seen)
    assert wanted.error is None
    assert wanted.trace is not None
    return request, wanted.trace


def request_for(**options: Any) -> Request:
    """A request for the question of these tests."""
    return Request(QUESTION, **{"router": ROUTER, "max_tokens": 60, "sampling": Sampling(0.0), **options})


def run(body: Body, pair: TinyPair | None = None, size: tuple[int, int] = (140, 45)) -> None:
    """Run a test in an app of its own, with a pair loaded if one is given."""

    async def whole() -> None:
        shell = Shell()
        try:
            async with shell.run_test(size=size) as pilot:
                if pair is not None:
                    await load(shell, pilot, pair)
                await body(shell, pilot)
        finally:
            assert shell.engine.close(10)

    asyncio.run(whole())


@contextmanager
def held_up(shell: Shell) -> Iterator[None]:
    """The engine's thread does nothing meanwhile; what is asked of it waits."""
    import threading

    gate = threading.Event()
    shell.engine._jobs.put(lambda: gate.wait(30) and None)
    try:
        yield
    finally:
        gate.set()


__all__ = [
    "QUESTION",
    "ROUTER",
    "Answer",
    "Shell",
    "ShellPilot",
    "answer",
    "held_up",
    "load",
    "request_for",
    "run",
    "until",
]
