"""Ctrl-C for work that is saved as it completes and can be resumed.

The first Ctrl-C lets the work stop after the tokens being decoded, a second one stops it at once. In the command line
SIGTERM (a scheduler, a shutdown) and SIGHUP (a closed terminal) count as Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TypeVar

Opened = TypeVar("Opened")

# Windows has no SIGHUP.
_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Records Ctrl-C, for loops that poll `should_stop`."""

    def __init__(self) -> None:
        self._requested = threading.Event()

    def should_stop(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._requested.is_set()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the first Ctrl-C inside the block; the second one raises KeyboardInterrupt."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self._requested.is_set():
                raise KeyboardInterrupt
            self._requested.set()

        # Python allows handlers in the main thread only.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _recorded_signals()}
        for number in before:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def while_open(self, resource: AbstractContextManager[Opened]) -> Iterator[Opened]:
        """Enter `resource` and record Ctrl-C until it is closed."""
        with resource as opened, self.recorded():
            yield opened


def count_as_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, unless they are ignored (nohup) or handled."""
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _recorded_signals() -> Iterator[signal.Signals]:
    # Shells start background jobs with SIGINT ignored; the Ctrl-C is meant for another program.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield signal.SIGINT
    # A program that uses this package may want to be ended by the other signals.
    yield from (number for number in _STOP_SIGNALS if signal.getsignal(number) is signal.default_int_handler)
