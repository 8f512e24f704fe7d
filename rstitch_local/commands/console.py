"""How the command line speaks: the two consoles, error panels, and text made safe for a terminal.

Knows nothing of what is said.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import commands_terminal, safe_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn


def make_console(*, stderr: bool = False) -> Console:
    """A console that never reads what it prints as markup. Where NO_COLOR is set, its text is plain."""
    from rich.console import Console

    # Left to itself rich drops the colours only, and keeps underlining.
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, color_system=None if plain else "auto")


def progress_bars(screen: Console, *columns: ProgressColumn) -> Progress:
    """Return a transient progress display of descriptions, bars and `columns`; nothing is drawn without a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    shown = (TextColumn("{task.description}", markup=False), BarColumn(), *columns)
    return Progress(*shown, console=screen, transient=True, disable=not screen.is_terminal)


def safe_json(value: Any) -> str:
    """A value as one line of JSON, readable in any script, without characters that command a terminal."""
    line = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda found: _escaped(found[0]), line)


def _escaped(c: str) -> str:
    return json.dumps(c)[1:-1] if commands_terminal(c) else c


def print_error(error: RStitchError) -> None:
    """Show an error on stderr: a panel on a terminal, plain sentences elsewhere."""
    message = safe_text(error.message)
    hint = safe_text(error.hint)
    if not sys.stderr.isatty():
        print(f"{error.title}: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
        return
    from rich.panel import Panel
    from rich.text import Text

    body = Text(message)
    if hint:
        body.append(f"\n\n{hint}", style="dim")
    make_console(stderr=True).print(Panel(body, title=Text(error.title), title_align="left", border_style="red"))
