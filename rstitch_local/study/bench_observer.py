"""Callbacks of a bench. Independent of any display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.reading import ProblemFile
from rstitch_local.problems.tasks import Task

if TYPE_CHECKING:
    from rstitch_local.decoding.step import Step


@dataclass(frozen=True, slots=True)
class BenchStart:
    """The state of a bench before its first new answer.

    total: number of answers of all routers when the bench is complete; done: how many of them exist already.
    answers: by router the answers that exist already.
    """

    total: int
    done: int
    answers: Mapping[str, Sequence[Answer]]


class BenchObserver:
    """Callbacks of a bench. This class ignores every event; override the methods you need.

    `on_answer` is called in the thread that grades and writes, everything else in the thread that solves.
    """

    def on_problem_file(self, problem_file: ProblemFile) -> None:
        """The problem file has been read; nothing is loaded yet."""

    def on_notice(self, text: str) -> None:
        """A folder was repaired when it was opened; called only if there is something to say."""

    def on_start(self, start: BenchStart) -> None:
        """The models are loaded and warmed up. Not called if all answers exist already."""

    def on_task(self, router: str, task: Task) -> None:
        """A router has started the answer to a task."""

    def on_step(self, router: str, step: Step) -> None:
        """A token has been generated."""

    def on_answer(self, router: str, task: Task, answer: Answer) -> None:
        """An answer has been graded and written to disk."""

    def on_end(self) -> None:
        """Called once after `on_start`, whether the bench is complete, stopped or failed."""


class RouterObserver(Observer):
    """Forwards the events of the solving loop to a bench observer, with the name of the router."""

    def __init__(self, router: str, observer: BenchObserver) -> None:
        self._router = router
        self._observer = observer

    def on_task(self, task: Task) -> None:
        self._observer.on_task(self._router, task)

    def on_step(self, step: Step) -> None:
        self._observer.on_step(self._router, step)

    def on_answer(self, task: Task, answer: Answer) -> None:
        self._observer.on_answer(self._router, task, answer)
