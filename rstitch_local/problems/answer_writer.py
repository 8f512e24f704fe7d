"""From a finished run to a graded line of answers.jsonl."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.tasks import Task
from rstitch_local.trace.record import Trace

_TOTALS = ("stop", "seed", "tokens", "swaps", "evaluated", "ms", "wall_ms", "busy_ms", "ttft_ms")


class AnswerWriter:
    """Grades and writes answers in a separate thread, so that grading does not delay decoding. Use it in `with`.

    Leaving the block drops the answers whose grading has not started; call `finish` to wait for them.
    """

    def __init__(self, grader: Grader, folder: RunFolder, observer: Observer) -> None:
        self._grader = grader
        self._folder = folder
        self._observer = observer
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()
        self._written = 0

    def __enter__(self) -> AnswerWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, task: Task, trace: Trace | None, error: str | None) -> None:
        """Queue an answer. `trace` is None for a task that failed before it was started; `error` says why."""
        self._pending.append(self._thread.submit(self._write, task, trace, error))

    def raise_errors(self) -> None:
        """Raise the exception of an answer that could not be graded or written."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def finish(self) -> int:
        """Wait until all queued answers are written; return how many have been written in total."""
        while self._pending:
            self._pending.popleft().result()
        return self._written

    def _write(self, task: Task, trace: Trace | None, error: str | None) -> None:
        if trace is not None:
            self._folder.append_trace(task.key, task.problem.question, trace.to_columns())
        answer = _graded(task, trace, error, self._grader)
        self._folder.append(answer)
        self._written += 1
        self._observer.on_answer(task, answer)


def _graded(task: Task, trace: Trace | None, error: str | None, grader: Grader) -> Answer:
    text, totals = ("", Trace(task.seed, stop="error").totals()) if trace is None else (trace.text, trace.totals())
    if error is not None:
        totals["stop"] = "error"
    gold = task.problem.gold
    answer: str | None = None
    # A failed task counts as wrong: leaving it out would raise the accuracy of runs with failures.
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
