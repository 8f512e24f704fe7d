"""The solving loop: problems through a pair, many at once, their graded answers into a run folder.

Knows a pair only as something that starts runs, and a screen only as an observer that is told what happens.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.driver import Status
from rstitch_local.errors import EngineError, InputError, ModelError, RStitchError
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Answer, Key, RunFolder

_ROLES = ("slm", "llm")
_KINDS = ("prompt", "catch_up", "decode")


class Record(Protocol):
    """What is known of a run at its end: engine.trace.Trace."""

    @property
    def text(self) -> str:
        """The answer so far."""

    @property
    def stop(self) -> str | None:
        """Why it ended; None while it runs."""

    def totals(self) -> dict[str, Any]:
        """stop, seed, tokens, swaps, evaluated, ms, wall_ms, busy_ms, ttft_ms."""

    def to_columns(self) -> dict[str, Any]:
        """All of it, a few bytes a token."""


class Run(Protocol):
    """One answer in the making: engine.run.Run."""

    @property
    def trace(self) -> Record:
        """Its record, complete once it says why the answer ended."""

    @property
    def error(self) -> EngineError | None:
        """What ended it, where that was an error of its own."""


class Starter(Protocol):
    """What solving needs of a pair: engine.pair.Pair."""

    def chat(
        self,
        messages: list[dict[str, str]],
        *,
        router: str,
        sampling: Sampling,
        seed: int,
        max_tokens: int | None,
        reuse: bool,
    ) -> Run:
        """Begin one answer."""

    @property
    def status(self) -> Status:
        """How busy it is, and how many it can write at once."""

    def run_all(self, runs: Iterable[Any], *, should_stop: Callable[[], bool]) -> Iterator[tuple[Any, Any]]:
        """Write them, as many at once as there is room for; every token with its run, None for an end without one."""


class Observer(Protocol):
    """Whoever wants to show how far it is."""

    def started(self, task: Task) -> None:
        """A problem was begun."""

    def stepped(self, step: Any) -> None:
        """A token was kept."""

    def finished(self, task: Task, answer: Answer) -> None:
        """Its answer is on the disk."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every problem of a run is put to the pair; `max_tokens` None means what the context holds."""

    router: str
    sampling: Sampling
    prompt: Prompt
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One sample of one problem, with the seed of its noise."""

    problem: Problem
    sample: int
    seed: int

    @property
    def key(self) -> Key:
        """What it is called in a run folder."""
        return self.problem.id, self.sample


def seed_of(base: int, identifier: str, sample: int) -> int:
    """A seed of 63 bits that depends on these three alone, on every system, whatever is solved beside it."""
    digest = hashlib.sha256(f"{base}\0{identifier}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def tasks_of(problems: Iterable[Problem], samples: int, base_seed: int, done: Set[Key] = frozenset()) -> list[Task]:
    """What is left to do, all samples of one problem before the next problem."""
    return [
        Task(problem, sample, seed_of(base_seed, problem.id, sample))
        for problem in problems
        for sample in range(samples)
        if (problem.id, sample) not in done
    ]


def solve(
    pair: Starter,
    tasks: Iterable[Task],
    settings: Settings,
    grader: Grader,
    folder: RunFolder,
    observer: Observer,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Solve, grade and write tasks, as many at once as the pair was loaded for.

    A task that fails (a prompt longer than the context, broken logits) is written with its error and the
    others go on. One that is stopped halfway is not written.

    Args:
        pair: what writes the answers.
        tasks: what to solve; begun in this order, written in the order in which they end.
        settings: how each problem is put to the pair.
        grader: what compares the answers with the gold ones, beside the solving.
        folder: where answers are written, each as soon as it is graded.
        observer: told how far it is.
        should_stop: looked at by the engine between evaluations; True ends the loop.

    Returns:
        How many tasks were done; fewer than there are when `stop` ended it.

    Raises:
        StorageError: an answer could not be written; those before it are kept.
        GraderError: the grading process does not start.
    """
    book = _Book(grader, folder, observer)
    coming = iter(tasks)
    open_tasks: dict[int, tuple[Task, Run]] = {}

    def runs() -> Iterator[Run]:
        for task in coming:
            try:
                run = pair.chat(
                    settings.prompt.messages(task.problem.question),
                    router=settings.router,
                    sampling=settings.sampling,
                    seed=task.seed,
                    max_tokens=settings.max_tokens,
                    # One at a time, an answer depends on nothing that was asked before, not even by rounding.
                    reuse=pair.status.slots > 1,
                )
            except (InputError, EngineError, ModelError) as error:
                book.enter(task, None, _sentence(error))
                continue
            open_tasks[id(run)] = task, run
            observer.started(task)
            yield run

    try:
        while True:
            try:
                for run, step in pair.run_all(runs(), should_stop=should_stop):
                    if step is not None:
                        observer.stepped(step)
                    book.check()
                    if run.trace.stop is not None:
                        task, _ = open_tasks.pop(id(run))
                        book.enter(task, run.trace, run.error and _sentence(run.error))
                break
            except EngineError as error:
                # llama.cpp failed, and what was open with it; the others are tried all the same.
                if not open_tasks:
                    raise
                for task, run in open_tasks.values():
                    book.enter(task, run.trace, _sentence(error))
                open_tasks.clear()
        return book.close()
    finally:
        book.abandon()


class _Book:
    """Grades answers and writes them down in a thread of its own, so that no trajectory waits for mathematics."""

    def __init__(self, grader: Grader, folder: RunFolder, observer: Observer) -> None:
        self._grader = grader
        self._folder = folder
        self._observer = observer
        self._thread = ThreadPoolExecutor(1)
        self._entries: deque[Future[None]] = deque()
        self._written = 0

    def enter(self, task: Task, record: Record | None, error: str | None) -> None:
        """Have an answer graded and written; one that was never begun has an error and no record."""
        self._entries.append(self._thread.submit(self._write, task, record, error))

    def check(self) -> None:
        """Raise what went wrong with an entry."""
        while self._entries and self._entries[0].done():
            self._entries.popleft().result()

    def close(self) -> int:
        """Wait until all is written; returns how many entries there were."""
        while self._entries:
            self._entries.popleft().result()
        return self._written

    def abandon(self) -> None:
        """Leave out what is not being written yet."""
        self._thread.shutdown(cancel_futures=True)

    def _write(self, task: Task, record: Record | None, error: str | None) -> None:
        if record is not None:
            self._folder.keep_trace(task.key, task.problem.question, record.to_columns())
        answer = _graded(task, record, error, self._grader)
        self._folder.append(answer)
        self._written += 1
        self._observer.finished(task, answer)


def regrade(folder: RunFolder, grader: Grader, watch: Callable[[int], None] | None = None) -> int:
    """Grade every answer of a folder again and rewrite it; returns how many verdicts changed.

    Args:
        folder: whose answers to grade.
        grader: what compares them with the gold ones.
        watch: told the number of each line before it is graded.

    Raises:
        StorageError: the folder could not be written; it is as it was.
        GraderError: the grading process does not start.
    """
    changed = done = 0

    def again(row: Answer) -> Answer:
        nonlocal changed, done
        done += 1
        if watch is not None:
            watch(done)
        if row["stop"] == "error":
            return row
        verdict = grader.grade(row["gold"], row["text"])
        changed += verdict.correct != row["correct"]
        return {
            **row,
            "answer": verdict.answer,
            "correct": verdict.correct,
            "error": verdict.note or None,
        }

    folder.rewrite(again)
    return changed


def _graded(task: Task, record: Record | None, error: str | None, grader: Grader) -> Answer:
    text, totals = ("", _nothing(task.seed)) if record is None else (record.text, record.totals())
    if error is not None:
        totals["stop"] = "error"
    gold = task.problem.gold
    answer: str | None = None
    # A failure counts as wrong: leaving it out would make the figures of a run with failures look better.
    correct = None if gold is None else False
    if error is None:
        verdict = grader.grade(gold, text)
        answer, correct, error = verdict.answer, verdict.correct, verdict.note or None
    return {
        "id": task.problem.id,
        "sample": task.sample,
        "answer": answer,
        "gold": gold,
        "correct": correct,
        "text": text,
        **{name: totals[name] for name in _TOTALS},
        "error": error,
    }


_TOTALS = ("stop", "seed", "tokens", "swaps", "evaluated", "ms", "wall_ms", "busy_ms", "ttft_ms")


def _nothing(seed: int) -> dict[str, Any]:
    """The totals of a task that failed before its first evaluation."""
    return {
        "stop": "error",
        "seed": seed,
        "tokens": dict.fromkeys(_ROLES, 0),
        "swaps": {"up": 0, "down": 0},
        "evaluated": {role: dict.fromkeys(_KINDS, 0) for role in _ROLES},
        "ms": {role: dict.fromkeys(_KINDS, 0.0) for role in _ROLES},
        "wall_ms": 0.0,
        "busy_ms": 0.0,
        "ttft_ms": None,
    }


def _sentence(error: RStitchError) -> str:
    return f"{error.title}: {error.message}"
