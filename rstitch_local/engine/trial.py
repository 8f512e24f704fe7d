"""Trials: files that this machine has never loaded are loaded in another process first (trial_worker.py).

llama.cpp aborts its process on some damaged or hostile files, which no exception handler can prevent.
"""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from rstitch_local import workers
from rstitch_local.catalog.store import BUILTIN_DIR
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.trial_monitor import Monitor, TrialModel
from rstitch_local.engine.tried_files import FilesOnTrial
from rstitch_local.errors import CancelledError, ModelError
from rstitch_local.llama.gguf_split import parts_of

OnTrial: TypeAlias = Callable[[Role], bool]
"""Called several times a second during a trial, with the model. Returning False cancels."""

_POLL_S = 0.05
_ENVIRONMENT = {
    # Starting a GPU takes long, and reserves more address space than the limit.
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    # ggml would start a debugger when it aborts.
    "GGML_NO_BACKTRACE": "1",
    # Every thread would reserve address space.
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}

_log = logging.getLogger("rstitch.trial")
_log.addHandler(logging.NullHandler())


class Trial(AbstractContextManager["Trial"]):
    """The trial of some models, one after the other in another process, which ends with the `with` block.

    Args:
        models: the models; none for a trial that has nothing to do.
    """

    def __init__(self, models: Sequence[TrialModel]) -> None:
        self._waiting = {model.role: model for model in models}
        self._process: subprocess.Popen[bytes] | None = None
        if models:
            self._start(models)

    def _start(self, models: Sequence[TrialModel]) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            self._skip("there is no Python interpreter to start")
            return
        self._verdicts: queue.SimpleQueue[Role | ModelError | None] = queue.SimpleQueue()
        monitor = Monitor(models, self._verdicts)
        command = workers.command_of("rstitch_local.engine.trial_worker", str(monitor.total_limit_s))
        try:
            self._process = workers.start_worker(command, _ENVIRONMENT, subprocess.PIPE)
        except OSError as error:
            self._skip(str(error))
            return
        threading.Thread(target=monitor.run, args=(self._process,), daemon=True).start()

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            workers.end_worker(self._process)

    def wait(self, role: Role, on_trial: OnTrial | None = None) -> None:
        """Wait until a model has passed its trial; returns at once if it is not on trial.

        Raises:
            TrialError: its file crashed llama.cpp, or exceeded a limit.
            ModelError: llama.cpp did not load the file.
            CancelledError: `on_trial` returned False.
        """
        while role in self._waiting:
            if on_trial is not None and not on_trial(role):
                raise CancelledError("Loading cancelled", f"{self._waiting[role].files[0].name} was not loaded.")
            try:
                verdict = self._verdicts.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(verdict, ModelError):
                raise verdict
            if verdict is None:
                self._skip("the process did not start")
            else:
                self._waiting.pop(verdict).on_trial.record()

    def _skip(self, reason: str) -> None:
        """Load without a trial: that it cannot be held is no fault of the files."""
        _log.warning("models are loaded without a trial: %s", reason)
        self._waiting.clear()


def open_trial(choice: PairChoice, *, trusted: bool) -> Trial:
    """Start a trial of the models of a pair that this machine has never loaded.

    Args:
        choice: the pair; its files exist.
        trusted: whether to trust all files.
    """
    models = []
    for role, path in {} if trusted else choice.files.items():
        files = parts_of(path)
        template = choice.templates.get(role)
        on_trial = FilesOnTrial([*files, *([template] if template else [])])
        if not (_is_builtin(path) or on_trial.were_tried()):
            models.append(TrialModel(role, files, template, on_trial))
    return Trial(models)


def _is_builtin(path: Path) -> bool:
    return path.resolve().parent == BUILTIN_DIR.resolve()
