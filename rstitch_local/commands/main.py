"""The program `rstitch`: its commands by name, and the one place where errors become exit codes.

Knows every command's function and nothing of what they do. Command modules import what is heavy when they
run, so that `rstitch --help` answers at once (scripts/cold_start.py guards it).
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rstitch_local import __version__
from rstitch_local.commands import (
    ask,
    bench,
    calibrate,
    chat,
    doctor,
    grade,
    pairs,
    pull,
    solve,
    study,
    trace,
    train_router,
    tune,
)
from rstitch_local.commands.console import print_error
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, RStitchError, StorageError

app = typer.Typer(
    name="rstitch",
    help="A small model writes; where it is unsure, a large one takes over. Both run on this machine. Without a "
    "command, the chat begins.",
    epilog="Exit codes: 0 done, 2 usage, 3 model, 4 input, 5 download, 6 disk, 7 evaluation, 130 stopped.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (
    chat.chat,
    ask.ask,
    solve.solve,
    grade.grade,
    trace.trace,
    bench.bench,
    tune.tune,
    calibrate.calibrate,
    train_router.train_router,
    pull.pull,
    doctor.doctor,
):
    app.command()(function)
app.add_typer(pairs.group)
app.add_typer(study.study)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rstitch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        if chat.on_terminal():
            chat.chat()
        else:
            typer.echo(context.get_help())


def main() -> None:
    """Run the command line; ends the process with a documented exit code, never with a traceback of a user's error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it lives as long as we do
    # A pipe or a Windows console may not speak UTF-8; models do. What is no UTF-8 is marked, not an error.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except RStitchError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT_CODE)
    except BrokenPipeError:
        # Whoever read our output is gone (`rstitch ask ... | head`); Python would complain once more at exit.
        _discard_output()
        sys.exit(1)
    except OSError as error:
        # `rstitch ask ... > /dev/full`, or on Windows a pipe that nobody reads.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EINVAL, errno.EIO):
            raise
        _discard_output()
        print_error(StorageError("Output lost", f"What was printed could not be written: {error.strerror}."))
        sys.exit(StorageError.exit_code)


def _discard_output() -> None:
    """Have Python flush what is left of stdout into nothing at exit, instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
