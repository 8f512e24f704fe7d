"""Messages and exit code of commands that Ctrl-C stops and that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from rstitch_local.commands.console import echo
from rstitch_local.errors import INTERRUPTED_EXIT_CODE
from rstitch_local.interrupts import Interrupt


@contextmanager
def resumable(out: Path) -> Iterator[Interrupt]:
    """On KeyboardInterrupt in the block, print how to resume and exit with code 130."""
    try:
        yield Interrupt()
    except KeyboardInterrupt:
        exit_stopped(out, f"Completed work is saved in {out}.")


def exit_stopped(out: Path, saved: str) -> NoReturn:
    """Print what is saved and how to resume, and exit with code 130."""
    echo(f"Stopped. {saved} Run the same command with --out {out} to resume.", err=True)
    raise typer.Exit(INTERRUPTED_EXIT_CODE)
