"""The solving loop: problems through a pair, one answer after another into a run folder.

Knows a pair only as something that starts runs, and a screen only as an observer that is told what happens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol

from rstitch_local.decoding.sampling import Sampling
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

    def totals(self) -> dict[str, Any]:
        """stop, seed, tokens, swaps, evaluated, ms, wall_ms, ttft_ms."""

    def to_columns(self) -> dict[str, Any]:
        """All of it, a few bytes a token."""


class Run(Protocol):
    """One answer in the making: engine.pair.Run."""

    @property
    def trace(self) -> Record:
        """Its record, complete once the iteration has ended."""

    def __iter__(self) -> Iterator[Any]:
        """Generate, a step a token."""


class Starter(Protocol):
    """What solving needs of a pair: engine.pair.Pair."""

    def start(
        self,
        messages: list[dict[str, str]],
        *,
        router: str,
        sampling: Sampling,
        seed: int,
        max_tokens: int | None,
        stop: Callable[[], bool] | None,
    ) -> Run:
        """Begin one answer."""


class Observer(Protocol):
    """Whoever wants to show how far it is."""

    def started(self, task: Task) -> None:
        """A problem is next."""

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
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Solve, grade and write one task after the other.

    A task that fails (a prompt longer than the context, broken logits) is written with its error and the
    others go on. One that is stopped halfway is not written.

    Args:
        pair: what writes the answers.
        tasks: what to solve, in this order.
        settings: how each problem is put to the pair.
        grader: what compares the answers with the gold ones.
        folder: where answers are written, each before the next task begins.
        observer: told how far it is.
        stop: looked at between tasks and by the engine between evaluations; True ends the loop.

    Returns:
        How many tasks were done; fewer than there are when `stop` ended it.

    Raises:
        StorageError: an answer could not be written; those before it are kept.
        GraderError: the grading process does not start.
    """
    done = 0
    for task in tasks:
        if stop():
            break
        observer.started(task)
        outcome = _generate(pair, task, settings, observer, stop, folder)
        if outcome is None:
            break
        text, totals, error = outcome
        answer = _graded(task, text, totals, error, grader)
        folder.append(answer)
        done += 1
        observer.finished(task, answer)
    return done


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


def _generate(
    pair: Starter, task: Task, settings: Settings, observer: Observer, stop: Callable[[], bool], folder: RunFolder
) -> tuple[str, dict[str, Any], str | None] | None:
    """The text, the totals and the error of one task; None when it was stopped halfway."""
    run: Run | None = None
    error: str | None = None
    try:
        run = pair.start(
            settings.prompt.messages(task.problem.question),
            router=settings.router,
            sampling=settings.sampling,
            seed=task.seed,
            max_tokens=settings.max_tokens,
            stop=stop,
        )
        for step in run:
            observer.stepped(step)
    except (InputError, EngineError, ModelError) as failure:
        error = _sentence(failure)
    totals = run.trace.totals() if run is not None else _nothing(task.seed)
    if error is not None:
        totals = {**totals, "stop": "error"}
    if totals["stop"] == "interrupted":
        return None
    if run is not None:
        folder.keep_trace(task.key, task.problem.question, run.trace.to_columns())
    return (run.trace.text if run is not None else ""), totals, error


def _graded(task: Task, text: str, totals: dict[str, Any], error: str | None, grader: Grader) -> Answer:
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


_TOTALS = ("stop", "seed", "tokens", "swaps", "evaluated", "ms", "wall_ms", "ttft_ms")


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
        "ttft_ms": None,
    }


def _sentence(error: RStitchError) -> str:
    return f"{error.title}: {error.message}"
