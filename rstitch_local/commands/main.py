"""The program `rstitch`: registers the commands and converts errors to exit codes.

Command modules import heavy packages when a command runs, so that `rstitch --help` stays fast
(scripts/cold_start.py checks this).
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from rstitch_local.commands.dashes import Command
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, RStitchError, StorageError
from rstitch_local.interrupts import count_as_ctrl_c
from rstitch_local.sanitize import single_line


class _Group(TyperGroup):
    """The program's commands; typer's errors, which quote what was typed, are printed without control characters."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _safe_messages():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _safe_messages():
            return super().invoke(ctx)


@contextmanager
def _safe_messages() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(getattr(error, "message", None), str):
            error.message = single_line(error.message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="rstitch",
    cls=_Group,
    help="Two local models answer together: the small one generates, and the large one generates the tokens at which "
    "the small one is uncertain. Without a command, the chat opens.",
    epilog="Exit codes: 0 success, 1 output closed early, 2 usage, 3 model, 4 input, 5 download, 6 disk, 7 evaluation, "
    "130 interrupted.",
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
for group in (app, pairs.group, study.study):
    for command in group.registered_commands:
        # Typer keeps the line breaks of a docstring, which do not fit the width of the terminal.
        paragraphs = inspect.cleandoc(command.callback.__doc__ or "" if command.callback else "").split("\n\n")
        command.cls = Command
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _show_version(requested: bool) -> None:
    if requested:
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
    """Run the command line and exit with a documented code; user errors never show a traceback."""
    _prepare_streams()
    count_as_ctrl_c()
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
        # stdout was closed early (`rstitch ask ... | head`).
        _discard_output()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            # A file or folder of the user that a command did not expect to fail.
            print_error(StorageError("Cannot use file", f"{error.filename}: {error.strerror or error}."))
            sys.exit(StorageError.exit_code)
        # The disk is full (`rstitch ask ... > /dev/full`), or on Windows stdout was closed early.
        if error.errno not in (errno.ENOSPC, errno.EINVAL, errno.EIO):
            raise
        _discard_output()
        print_error(StorageError("Cannot write output", f"Writing to stdout failed: {error.strerror}."))
        sys.exit(StorageError.exit_code)


def _prepare_streams() -> None:
    """Replace closed streams by /dev/null, and make all of them UTF-8 with replacement of invalid bytes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it stays open until the process exits
    # Pipes and Windows consoles may have another encoding, but models write UTF-8.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def _discard_output() -> None:
    """Redirect stdout to /dev/null, so that flushing the rest at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
