"""Grading in a separate process with a time limit: the client.

Starts the grading process (grading_worker.py), and restarts it if it hangs or dies. Extracts the answers itself;
everything mathematical happens in the grading process.
"""

from __future__ import annotations

import importlib.metadata
import json
import queue
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch_local import workers
from rstitch_local.errors import RStitchError
from rstitch_local.problems.answers import final_answer

RULES_VERSION = 3
"""Increased whenever a change of extraction or equivalence changes a verdict, so that runs can be told apart."""
TIME_LIMIT_SECONDS = 10.0
_START_LIMIT_SECONDS = 120.0
_LONGEST_TEXT = 1_000_000


class GraderError(RStitchError):
    """The grading process does not start: the installation is broken (exit code 1)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The grade of one text.

    Attributes:
        answer: the extracted answer, or None.
        correct: whether it is correct; None without a gold answer.
        note: why the answer counts as wrong without having been compared (a timeout, a crash); usually empty.
    """

    answer: str | None
    correct: bool | None
    note: str = ""


def grader_identity() -> dict[str, object]:
    """Return name and versions of the grader, for run.json."""
    return {
        "name": "math-verify",
        "version": importlib.metadata.version("math-verify"),
        "sympy": importlib.metadata.version("sympy"),
        "rules": RULES_VERSION,
    }


class Grader:
    """Grades one text at a time in a separate process, which starts in the background. Use it in `with`.

    Args:
        time_limit_seconds: limit for one text; after it the answer counts as wrong.
        command: command of the grading process; None for the real one. For tests.
    """

    def __init__(self, time_limit_seconds: float = TIME_LIMIT_SECONDS, command: Sequence[str] | None = None) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._command = command or workers.command_of("rstitch_local.problems.grading_worker", str(time_limit_seconds))
        self._ready = False
        self._process, self._replies = self._start()

    def grade(self, gold: str | None, text: str) -> Verdict:
        """Extract the answer from a text and compare it with the gold answer; a timeout or a crash counts as wrong.

        Raises:
            GraderError: the grading process cannot be started.
        """
        answer = final_answer(text[-_LONGEST_TEXT:], gold)
        if gold is None or answer is None:
            return Verdict(answer, None if gold is None else False)
        return self._compare(gold, answer)

    def close(self) -> None:
        """Kill the process."""
        workers.end_worker(self._process)

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _compare(self, gold: str, answer: str) -> Verdict:
        self._await_ready()
        line = json.dumps({"gold": gold, "answer": answer}).encode("ascii") + b"\n"
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            self._process.stdin.flush()
            reply = self._replies.get(timeout=self._time_limit_seconds)
        except queue.Empty:
            self._restart()
            return Verdict(answer, False, f"grading took longer than {self._time_limit_seconds:g} s")
        except OSError:
            reply = None
        if reply is None:
            self._restart()
            return Verdict(answer, False, "the grading process died")
        message = json.loads(reply)
        if "failure" in message:
            return Verdict(answer, False, f"not gradable ({message['failure']})")
        return Verdict(answer, message["correct"])

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            reply = self._replies.get(timeout=_START_LIMIT_SECONDS)
        except queue.Empty:
            reply = None
        message = json.loads(reply) if reply else {}
        if "ready" not in message:
            reason = message.get("fatal") or f"exit code {self._process.poll()}"
            raise GraderError(
                "Grader not available",
                f"The grading process does not start: {reason}.",
                "Reinstall the package with its dependencies: `pip install --force-reinstall rstitch-local`.",
            )
        self._ready = True

    def _restart(self) -> None:
        self.close()
        self._ready = False
        self._process, self._replies = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], queue.SimpleQueue[bytes | None]]:
        try:
            process = workers.start_worker(self._command)
        except OSError as error:
            raise GraderError(
                "Grader not available",
                f"The grading process does not start: {error.strerror or error}.",
                "Raise the limits on processes, open files and memory, or close other programs.",
            ) from error
        return process, workers.read_lines(process.stdout)
