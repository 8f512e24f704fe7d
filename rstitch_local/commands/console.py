"""Output of the command line: consoles, progress bars, error panels, and JSON that is safe for a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

import typer

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import commands_terminal, single_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text literally, without markup and control characters; plain text with NO_COLOR."""
    from rstitch_local.commands.safe_console import SafeConsole

    # rich itself drops only the colors, not the underline.
    plain = bool(os.environ.get("NO_COLOR"))
    colors: Literal["auto"] | None = None if plain else "auto"
    return SafeConsole(stderr=stderr, markup=False, highlight=False, emoji=False, color_system=colors)


def progress_bars(screen: Console, *columns: ProgressColumn, auto_refresh: bool = True) -> Progress:
    """Return a transient progress display of descriptions, bars and `columns`; nothing is drawn without a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    shown = (TextColumn("{task.description}", markup=False), BarColumn(), *columns)
    return Progress(*shown, console=screen, transient=True, auto_refresh=auto_refresh, disable=not screen.is_terminal)


def echo(*lines: str, err: bool = False) -> None:
    """Print lines of plain text that may quote names of files or other untrusted text."""
    for line in lines:
        typer.echo(single_line(line), err=err)


def safe_json(value: Any) -> str:
    """Return one line of JSON with printable Unicode unescaped and terminal control characters escaped."""
    line = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda match: _escaped(match[0]), line)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if commands_terminal(character) else character


def print_error(error: RStitchError) -> None:
    """Print an error on stderr: a panel on a terminal, plain text elsewhere."""
    title, message, hint = (single_line(text) for text in (error.title, error.message, error.hint))
    if not sys.stderr.isatty():
        print(f"{title}: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
        return
    from rich.panel import Panel
    from rich.text import Text

    body = Text(message)
    if hint:
        body.append(f"\n\n{hint}", style="dim")
    make_console(stderr=True).print(Panel(body, title=Text(title), title_align="left", border_style="red"))
