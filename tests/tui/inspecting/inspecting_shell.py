"""A minimal app with a real engine thread, for the tests of single screens."""

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
# Near the entropies of the tiny models, so that swaps are frequent.
ROUTER = "entropy:0.2"


class Shell(App[None]):
    """An engine thread and the messages it posted."""

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
    """Poll until a condition is true."""
    for _ in range(3000):
        if condition():
            return
        await pilot.pause()
    raise AssertionError("condition never became true")


async def load(shell: Shell, pilot: ShellPilot, pair: TinyPair, context: int = 256) -> None:
    before = len(shell.seen)
    shell.engine.load(PairChoice("tiny", pair.slm, pair.llm), LoadOptions(context=context))
    await until(pilot, lambda: len(shell.seen) > before)


async def answer(shell: Shell, pilot: ShellPilot, **options: Any) -> tuple[Request, Trace]:
    """Generate an answer, greedily by default."""
    request = request_for(**options)
    new = Answer(request)
    shell.engine.generate(new)
    await until(pilot, lambda: new in shell.seen)
    assert new.error is None
    assert new.trace is not None
    return request, new.trace


def request_for(**options: Any) -> Request:
    """Return a request for QUESTION."""
    return Request(QUESTION, **{"router": ROUTER, "max_tokens": 60, "sampling": Sampling(0.0), **options})


def run(body: Body, pair: TinyPair | None = None, size: tuple[int, int] = (140, 45)) -> None:
    """Run a test in a new app, with `pair` loaded if it is given."""

    async def main() -> None:
        shell = Shell()
        try:
            async with shell.run_test(size=size) as pilot:
                if pair is not None:
                    await load(shell, pilot, pair)
                await body(shell, pilot)
        finally:
            assert shell.engine.close(10)

    asyncio.run(main())


@contextmanager
def engine_blocked(shell: Shell) -> Iterator[None]:
    """Block the engine thread; its jobs wait."""
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
    "engine_blocked",
    "load",
    "request_for",
    "run",
    "until",
]
