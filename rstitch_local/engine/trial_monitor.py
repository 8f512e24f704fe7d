"""The parent's side of a trial process: limits of time and memory, and what its messages and its death mean."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rstitch_local import workers
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.tried_files import FilesOnTrial
from rstitch_local.errors import ModelError
from rstitch_local.sanitize import human_bytes, one_line

TEMPLATE_LIMIT_S = 5.0
_START_LIMIT_S = 120.0
_LOAD_LIMIT_S = 30.0
_BYTES_PER_S = 20e6
"""Speed of a slow disk, for the time limit of large files."""

_MEMORY_BYTES = 4 << 30
"""Memory that a trial may use besides the files."""

_POLL_S = 0.05
_HINT = "If you trust the file, load it with --trust-models."
_REASON = re.compile(r"GGML_ASSERT\(.*\) failed|what\(\): .*")


class TrialError(ModelError):
    """A file that crashed llama.cpp, or exceeded a limit, in the trial process (exit code 3)."""


@dataclass(frozen=True, slots=True)
class TrialModel:
    """A model to try.

    Attributes:
        files: its file, or the parts of it.
        template: a file that replaces its chat template.
        on_trial: the record of these files.
    """

    role: Role
    files: Sequence[Path]
    template: Path | None
    on_trial: FilesOnTrial

    @property
    def size(self) -> int:
        """Size of the files in bytes."""
        return sum(path.stat().st_size for path in self.files)


class Monitor:
    """Follows a trial process.

    Args:
        models: the models, in the order in which they are tried.
        verdicts: receives the role of each model that has passed, or the error that ends the trial, or None if the
            process did not start.

    Attributes:
        total_limit_s: the time limits of everything together, in seconds.
    """

    def __init__(
        self,
        models: Sequence[TrialModel],
        verdicts: queue.SimpleQueue[Role | ModelError | None],
    ) -> None:
        self._models = models
        self._verdicts = verdicts
        self._load_limits_s = [_LOAD_LIMIT_S + model.size / _BYTES_PER_S for model in models]
        self._memory_bytes = max(model.size for model in models) + _MEMORY_BYTES
        self.total_limit_s = _START_LIMIT_S + sum(self._load_limits_s) + TEMPLATE_LIMIT_S * len(models)
        self._index, self._stage = 0, "start"
        self._limit_s = _START_LIMIT_S
        self._deadline = time.monotonic() + self._limit_s
        self._exceeded = ""

    def run(self, process: subprocess.Popen[bytes]) -> None:
        """Give the process its job and follow it to its end."""
        lines, errors = workers.read_lines(process.stdout), workers.read_lines(process.stderr)
        self._send_job(process)
        while True:
            try:
                line = lines.get(timeout=_POLL_S)
            except queue.Empty:
                self._enforce_limits(process)
                continue
            if line is None:
                self._verdicts.put(self._death(process.wait(), errors))
                return
            if self._take(json.loads(line)):
                return

    def _take(self, message: dict[str, Any]) -> bool:
        """Handle a message; return whether it is the last one."""
        if "stage" in message:
            self._enter(message["model"], message["stage"])
        elif "error" in message:
            self._verdicts.put(ModelError(*message["error"]))
        elif "out_of_memory" in message:
            self._exceeded = "memory"
        elif "passed" in message:
            self._verdicts.put(self._models[message["passed"]].role)
        return "error" in message or message.get("passed") == len(self._models) - 1

    def _send_job(self, process: subprocess.Popen[bytes]) -> None:
        models = [{"path": str(m.files[0]), "template": m.template and str(m.template)} for m in self._models]
        job = {"models": models, "memory_bytes": self._memory_bytes}
        assert process.stdin is not None
        # ValueError: the trial was cancelled and the pipe closed.
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps(job).encode("ascii") + b"\n")
            process.stdin.flush()

    def _enter(self, index: int, stage: str) -> None:
        self._index, self._stage = index, stage
        self._limit_s = TEMPLATE_LIMIT_S if stage == "template" else self._load_limits_s[index]
        self._deadline = time.monotonic() + self._limit_s

    def _enforce_limits(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(psutil.Error):
            if self._stage != "start" and psutil.Process(process.pid).memory_info().rss > self._memory_bytes:
                self._exceeded = "memory"
        if time.monotonic() > self._deadline:
            self._exceeded = "time"
        if self._exceeded:
            process.kill()

    def _death(self, code: int, errors: queue.SimpleQueue[bytes | None]) -> ModelError | None:
        """Return what the end of the process means."""
        if self._stage == "start":
            return None
        path = self._models[self._index].files[0]
        what = f"The chat template of {path}" if self._stage == "template" else str(path)
        if self._exceeded == "time":
            done = "rendered" if self._stage == "template" else "loaded and evaluated"
            message = f"{what} was not {done} within {self._limit_s:.0f} seconds."
            return TrialError("Trial took too long", message, _HINT)
        if self._exceeded == "memory":
            message = f"{what} needs more than {human_bytes(self._memory_bytes)} of memory."
            return TrialError("Trial took too much memory", message, _HINT)
        message = f"{what} ended the process that tried it ({_reason(code, errors)})."
        return TrialError("Model crashes llama.cpp", message, "Download it again, or use another file.")


def _reason(code: int, errors: queue.SimpleQueue[bytes | None]) -> str:
    """Return what llama.cpp printed to stderr, or the signal that ended the process."""
    printed = b""
    # A process started by the other one could keep the pipe open.
    with contextlib.suppress(queue.Empty):
        while (line := errors.get(timeout=1.0)) is not None:
            printed += line
    found = _REASON.findall(printed.decode("utf-8", "replace"))
    if found:
        return one_line(found[-1], 200)
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}, probably for lack of memory" if name == "SIGKILL" else name
    return f"exit code {code}"
