"""The solving loop: generate the answers to many tasks with one pair and write them to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rstitch_local.errors import EngineError, InputError, ModelError, RStitchError
from rstitch_local.problems.answer_writer import AnswerWriter
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.tasks import Settings, Task

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair
    from rstitch_local.engine.run import Run


def solve_tasks(
    pair: Pair,
    tasks: Iterable[Task],
    settings: Settings,
    grader: Grader,
    folder: RunFolder,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    reuse: bool | None = None,
) -> int:
    """Generate, grade and write the answers to tasks, as many concurrently as the pair has sequences.

    A task that fails (prompt longer than the context, NaN logits) is written with its error and the other tasks
    continue. An answer that is interrupted is not written.

    Args:
        pair: generates the answers.
        tasks: started in this order, written in the order in which they end.
        settings: router, sampling, prompt and limits of every answer.
        grader: compares the answers with the gold answers, in a separate thread.
        folder: receives each answer as soon as it is graded.
        observer: receives events of tasks, steps and answers.
        should_stop: polled between evaluations; True ends the loop.
        reuse: reuse cached prompts; None for only with several sequences. Without, an answer does not depend on
            earlier prompts even by rounding.

    Returns:
        The number of answers written, less than the number of tasks if `should_stop` ended the loop.

    Raises:
        StorageError: an answer could not be written; earlier answers are on disk.
        GraderError: the grading process does not start.
    """
    observer = observer or Observer()
    with AnswerWriter(grader, folder, observer) as writer:
        loop = _SolvingLoop(pair, settings, writer, observer, pair.status.slots > 1 if reuse is None else reuse)
        remaining = iter(tasks)
        while not loop.generate(remaining, should_stop):
            pass
        return writer.finish()


class _SolvingLoop:
    """The answers in progress of one `solve_tasks`."""

    def __init__(self, pair: Pair, settings: Settings, writer: AnswerWriter, observer: Observer, reuse: bool) -> None:
        self._pair = pair
        self._settings = settings
        self._writer = writer
        self._observer = observer
        self._reuse = reuse
        self._active: dict[int, tuple[Task, Run]] = {}

    def generate(self, tasks: Iterator[Task], should_stop: Callable[[], bool]) -> bool:
        """Generate until the tasks end or `should_stop` is True; return False if llama.cpp failed before that.

        A failure of llama.cpp ends the answers in progress with an error; the remaining tasks can be tried.
        """
        try:
            for run, step in self._pair.run_all(self._runs(tasks), should_stop=should_stop):
                if step is not None:
                    self._observer.on_step(step)
                self._writer.raise_errors()
                if run.trace.stop is not None:
                    task, _ = self._active.pop(id(run))
                    self._writer.add(task, run.trace, _sentence(run.error) if run.error else None)
        except EngineError as error:
            if not self._active:
                raise
            for task, run in self._active.values():
                self._writer.add(task, run.trace, _sentence(error))
            self._active.clear()
            return False
        return True

    def _runs(self, tasks: Iterator[Task]) -> Iterator[Run]:
        for task in tasks:
            try:
                run = self._start(task)
            except (InputError, EngineError, ModelError) as error:
                self._writer.add(task, None, _sentence(error))
                continue
            self._active[id(run)] = task, run
            self._observer.on_task(task)
            yield run

    def _start(self, task: Task) -> Run:
        settings = self._settings
        return self._pair.chat(
            settings.prompt.messages(task.problem.question),
            router=settings.router,
            sampling=settings.sampling,
            seed=task.seed,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            reuse=self._reuse,
        )


def _sentence(error: RStitchError) -> str:
    return f"{error.title}: {error.message}"
