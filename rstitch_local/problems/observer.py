"""Callbacks of a run over a problem file. Independent of any display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.reading import ProblemFile
from rstitch_local.problems.tasks import Task

if TYPE_CHECKING:
    from rstitch_local.decoding.step import Step
    from rstitch_local.engine.driver import Status


@dataclass(frozen=True, slots=True)
class RunStart:
    """The state of a run before its first new answer.

    total: number of answers when the run is complete; done: how many of them exist already.
    answers: the answers in the run folder.
    status: returns how busy the pair is; may be called from any thread.
    """

    total: int
    done: int
    answers: Sequence[Answer]
    status: Callable[[], Status]


class Observer:
    """Callbacks of a run. This class ignores every event; override the methods you need.

    `on_answer` is called in the thread that grades and writes, everything else in the thread that solves.
    """

    def on_problem_file(self, problem_file: ProblemFile) -> None:
        """The problem file has been read; nothing is loaded yet."""

    def on_notice(self, text: str) -> None:
        """A folder was repaired when it was opened; called only if there is something to say."""

    def on_start(self, start: RunStart) -> None:
        """The models are loaded. Not called if all answers exist already."""

    def on_task(self, task: Task) -> None:
        """The answer to a task has been started."""

    def on_step(self, step: Step) -> None:
        """A token has been generated."""

    def on_answer(self, task: Task, answer: Answer) -> None:
        """An answer has been graded and written to disk."""

    def on_end(self) -> None:
        """Called once after `on_start`, whether the run is complete, stopped or failed."""
