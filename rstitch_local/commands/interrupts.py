"""Ctrl-C in commands whose work is saved as it completes and can be resumed.

The first Ctrl-C stops the command after the tokens being decoded, a second one stops it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.errors import INTERRUPTED_EXIT_CODE

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

        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:
            # Shells start background jobs with SIGINT ignored; the Ctrl-C is meant for another program.
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


@contextmanager
def resumable(out: Path) -> Iterator[Interrupt]:
    """Exit with code 130 and say how to resume if KeyboardInterrupt leaves the block."""
    try:
        yield Interrupt()
    except KeyboardInterrupt:
        exit_stopped(out, f"Completed work is kept in {out}.")


def exit_stopped(out: Path, kept: str) -> NoReturn:
    """Say what is kept and how to resume, and exit with code 130."""
    make_console(stderr=True).print(f"Stopped. {kept} Run the same command with --out {out} to resume.", soft_wrap=True)
    raise typer.Exit(INTERRUPTED_EXIT_CODE)
