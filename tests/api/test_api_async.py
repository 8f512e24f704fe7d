"""The Python API: asynchronous iteration, and cancelling it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from api_samples import QUESTION, TOO_LONG, tokens

from rstitch_local import (
    EngineError,
    InputError,
    Pair,
    Step,
    UsageError,
)
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Decoded


async def collect(steps: AsyncGenerator[Step, None]) -> list[Step]:
    return [step async for step in steps]


def test_steps_can_be_streamed_asynchronously(demo: Pair) -> None:
    expected = demo.generate(QUESTION)
    found = asyncio.run(collect(demo.astream(QUESTION)))
    assert [(step.role, step.token) for step in found] == tokens(expected)
    options: dict[str, Any] = {"router": "slm", "temperature": 0.7, "seed": 3, "max_tokens": 9, "system": "Brief."}
    found = asyncio.run(collect(demo.astream(QUESTION, **options)))
    assert [(step.role, step.token) for step in found] == tokens(demo.generate(QUESTION, **options))
    resumed = asyncio.run(collect(demo.astream(QUESTION, resume_steps=expected.steps[:5])))
    assert [(step.role, step.token) for step in resumed] == tokens(expected)[5:]


def test_a_run_can_be_iterated_asynchronously(demo: Pair) -> None:
    run = demo.ask(QUESTION)
    asyncio.run(collect(aiter(run)))
    assert tokens(run.trace) == tokens(demo.generate(QUESTION))


def test_errors_reach_the_asynchronous_caller(demo: Pair) -> None:
    with pytest.raises(UsageError, match="is not a router"):
        asyncio.run(collect(demo.astream(QUESTION, router="nonsense")))
    with pytest.raises(EngineError, match="Invalid router result"):
        asyncio.run(collect(demo.astream(QUESTION, router=lambda _observation: None)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Prompt too long"):
        asyncio.run(collect(demo.astream(TOO_LONG)))


def test_the_event_loop_is_free_meanwhile(demo: Pair) -> None:
    async def other(done: asyncio.Event) -> int:
        turns = 0
        while not done.is_set():
            await asyncio.sleep(0)
            turns += 1
        return turns

    async def both() -> int:
        done = asyncio.Event()
        turns = asyncio.create_task(other(done))
        await collect(demo.astream(QUESTION))
        done.set()
        return await turns

    assert asyncio.run(both()) > 1


class HeldEvaluation:
    """Holds one evaluation of a pair until it is released, and counts all of them."""

    def __init__(self, demo: Pair, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.count = 0
        self.reached = threading.Event()
        self.release = threading.Event()
        for context in demo.contexts.values():

            def decode(
                slices: Sequence[BatchSlice],
                *,
                hidden: bool = False,
                original: Callable[..., Decoded] = context.decode,
            ) -> Decoded:
                self.count += 1
                if self.count == at:
                    self.reached.set()
                    assert self.release.wait(60)
                return original(slices, hidden=hidden)

            monkeypatch.setattr(context, "decode", decode)


@pytest.mark.parametrize(("question", "at"), [(QUESTION, 10), (" ".join([QUESTION] * 10), 2)])
def test_cancelling_ends_the_answer_after_the_current_evaluation(
    demo: Pair, monkeypatch: pytest.MonkeyPatch, question: str, at: int
) -> None:
    # The prompt of the second question takes more than two evaluations.
    held = HeldEvaluation(demo, monkeypatch, at)
    run = demo.ask(question, router="slm")

    async def cancel() -> None:
        task = asyncio.create_task(collect(aiter(run)))
        assert await asyncio.to_thread(held.reached.wait, 60)
        task.cancel()
        # The cancellation is delivered while the evaluation still runs.
        await asyncio.sleep(0)
        held.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert held.count == at
    assert run.trace.stop == "interrupted"
    demo.driver.require_idle()


def test_cancelling_a_stream_leaves_the_pair_idle(demo: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldEvaluation(demo, monkeypatch, 5)

    async def cancel() -> None:
        task = asyncio.create_task(collect(demo.astream(QUESTION, router="slm")))
        assert await asyncio.to_thread(held.reached.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        held.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert held.count == 5
    assert len(demo.generate(QUESTION, max_tokens=3).steps) == 3


def test_leaving_the_loop_ends_the_answer(demo: Pair) -> None:
    run = demo.ask(QUESTION)

    async def leave() -> None:
        async with aclosing(aiter(run)) as steps:
            async for step in steps:
                if step.position == 2:
                    break

    asyncio.run(leave())
    assert (len(run.trace.steps), run.trace.stop) == (3, "interrupted")
    demo.driver.require_idle()


def test_a_run_that_is_left_in_a_coroutine_can_be_closed(demo: Pair) -> None:
    run = demo.ask(QUESTION)

    async def leave() -> int:
        async for step in run:
            if step.position == 2:
                break
        run.close()
        return len(demo.generate(QUESTION, max_tokens=2).steps)

    assert asyncio.run(leave()) == 2
    assert (len(run.trace.steps), run.trace.stop) == (3, "interrupted")


def test_a_run_can_be_closed_while_another_thread_evaluates(demo: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldEvaluation(demo, monkeypatch, 5)
    run = demo.ask(QUESTION, router="slm")

    async def close() -> list[Step]:
        task = asyncio.create_task(collect(aiter(run)))
        assert await asyncio.to_thread(held.reached.wait, 60)
        run.close()
        held.release.set()
        return await task

    steps = asyncio.run(close())
    assert run.trace.steps == steps
    assert (held.count, run.trace.stop) == (5, "interrupted")
