"""Runs: the answers that callers of `Pair` iterate over, one at a time or many concurrently."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rstitch_local.decoding.step import Step
from rstitch_local.engine.driver import Driver
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import EngineError
from rstitch_local.routing.resolve import set_tau
from rstitch_local.trace.record import Trace


class Run:
    """One answer. Iterate over it, with `for` or `async for`, to generate it step by step; or call `finish`.

    Created by `Pair.ask` and `Pair.chat`; nothing is evaluated before the first step is requested. A run is iterated
    once. One run of a pair at a time: use `Pair.run_all` or `Pair.generate_many` for several answers.

    An answer that is left early (`break` in a `for` loop, or `close`) ends as `interrupted`; the trace keeps its steps:

        run = pair.ask(question)
        for step in run:
            if step.position == 20:
                break
        rest = pair.ask(question, resume_steps=run.trace.steps)

    Attributes:
        trace: the record of the answer; complete when `trace.stop` is set.
        tag: the object passed as `tag`.
        trajectory: the state machine that chooses models and tokens.
        sequence: the engine's state of the answer.
    """

    def __init__(
        self,
        driver: Driver,
        sequence: ActiveSequence,
        should_stop: Callable[[], bool] | None = None,
        tag: object = None,
    ) -> None:
        self.trace = sequence.trace
        self.trajectory = sequence.trajectory
        self.sequence = sequence
        self.tag = tag
        self._driver = driver
        self._should_stop = should_stop
        self._claimed = False
        self._cancelled = False
        # Weak: when the caller drops the iterator, it is closed.
        self._iterator: weakref.ref[Generator[Step, None, None]] | None = None

    def __repr__(self) -> str:
        tag = "" if self.tag is None else f", tag={self.tag!r}"
        return f"Run({self.trace.settings.get('router')!r}, {len(self.trace.steps)} tokens, {self._state()}{tag})"

    def _state(self) -> str:
        if self.trace.stop is not None:
            return self.trace.stop
        return "running" if self._claimed else "not started"

    @property
    def text(self) -> str:
        """The answer so far, complete characters only."""
        return self.trace.text

    @property
    def error(self) -> EngineError | None:
        """The error that ended this answer alone, such as broken logits or a failed router; None without one."""
        return self.sequence.error

    @property
    def tau(self) -> float | None:
        """The router's threshold; None for a router without one.

        Setting it applies from the next token on, and is recorded in `trace.taus`.

        Raises:
            UsageError: set on a router without a tau.
        """
        return self.trajectory.router.tau

    @tau.setter
    def tau(self, value: float) -> None:
        router = self.trajectory.router
        if router.tau is None or router.tau != value:
            set_tau(router, value)
            self.trace.taus.append((self.trajectory.position, value))

    def __iter__(self) -> Generator[Step, None, None]:
        """Generate the answer, one Step per kept token. Closing the iterator ends it as `interrupted`.

        Raises:
            EngineError: the run was iterated before, another answer is being generated, llama.cpp failed, the logits
                are broken, or the router failed. The trace keeps the steps before.
        """
        self._require_new()
        return self._new_iterator()

    def __aiter__(self) -> AsyncGenerator[Step, None]:
        """Generate the answer in a worker thread. Cancelling ends it after the current evaluation, as `interrupted`.

        Raises:
            EngineError: as for iterating with `for`.
        """
        self._require_new()
        return self._async_steps()

    def finish(self) -> Trace:
        """Generate the whole answer.

        Returns:
            The trace; also if the answer has ended before.

        Raises:
            EngineError: as for iterating; also the error that ended the answer before.
        """
        if self.trace.stop is None or not self._claimed:
            for _ in self:
                pass
        elif self.error is not None:
            raise self.error
        return self.trace

    def close(self) -> None:
        """End a started answer as `interrupted` unless it has ended, so that the pair can generate another one.

        After `break` in `async for` the pair stays busy until this is called, or until the event loop closes the
        iterator. While another thread evaluates, the answer ends after that evaluation. No effect on a run that
        `Pair.run_all` generates.
        """
        steps = None if self._iterator is None else self._iterator()
        if steps is not None and self._claimed:
            self._cancelled = True
            with suppress(ValueError):  # another thread is executing the generator, which polls `_cancelled`
                steps.close()

    def claim(self) -> ActiveSequence:
        """Mark the run as started, and return its sequence for the driver.

        Raises:
            EngineError: it was started before.
        """
        self._require_new()
        self._claimed = True
        return self.sequence

    def _require_new(self) -> None:
        if self._claimed:
            raise EngineError(
                "Run already iterated",
                f"This answer has been started before ({self._state()}).",
                "Its steps are in `trace.steps`; create a new run to generate it again.",
            )

    def _new_iterator(self) -> Generator[Step, None, None]:
        steps = self._steps()
        self._iterator = weakref.ref(steps)
        return steps

    def _steps(self) -> Generator[Step, None, None]:
        for _, step in run_all(self._driver, [self], should_stop=self._is_stopped):
            if step is not None:
                yield step
        if not self._claimed:
            # Stopped before the first evaluation, so the driver has not taken it.
            self.claim().close("interrupted")
        if self.error is not None:
            raise self.error

    def _is_stopped(self) -> bool:
        return self._cancelled or (self._should_stop is not None and self._should_stop())

    async def _async_steps(self) -> AsyncGenerator[Step, None]:
        # A separate thread, so that closing waits for the evaluation that is running.
        worker = ThreadPoolExecutor(1, thread_name_prefix="rstitch-run")
        loop = asyncio.get_running_loop()
        steps = self._new_iterator()
        try:
            while (step := await loop.run_in_executor(worker, next, steps, None)) is not None:
                yield step
        finally:
            self._cancelled = True
            await asyncio.shield(loop.run_in_executor(worker, steps.close))
            worker.shutdown(wait=False)


def run_all(
    driver: Driver, runs: Iterable[Run], *, should_stop: Callable[[], bool] | None = None
) -> Iterator[tuple[Run, Step | None]]:
    """Generate many answers concurrently; see `Pair.run_all`."""
    by_sequence: dict[int, Run] = {}

    def sequences() -> Iterator[ActiveSequence]:
        for run in runs:
            sequence = run.claim()
            by_sequence[id(sequence)] = run
            yield sequence

    for sequence, step in driver.steps(sequences(), should_stop=should_stop):
        yield by_sequence[id(sequence)], step
        if sequence.trace.stop is not None:
            del by_sequence[id(sequence)]
