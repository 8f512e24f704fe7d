"""Ctrl-C for work that is saved as it completes and can be resumed.

The first Ctrl-C lets the work stop after the tokens being decoded, a second one stops it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TypeVar

Opened = TypeVar("Opened")


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

        # Shells start background jobs with SIGINT ignored; the Ctrl-C is meant for another program. Python allows
        # handlers in the main thread only.
        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def while_open(self, resource: AbstractContextManager[Opened]) -> Iterator[Opened]:
        """Enter `resource` and record Ctrl-C until it is closed."""
        with resource as opened, self.recorded():
            yield opened
