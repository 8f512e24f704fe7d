"""How the command line speaks: the two consoles, error panels, and text made safe for a terminal.

Knows nothing of what is said.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

from rstitch_local.errors import RStitchError

if TYPE_CHECKING:
    from rich.console import Console


def make_console(*, stderr: bool = False) -> Console:
    """A console that never reads what it prints as markup. Colour goes away where NO_COLOR says so."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def safe_text(text: str) -> str:
    """Text of a model or a file without the characters that command a terminal; line ends and tabs stay.

    Covers C0 and C1 controls and the marks that reverse the direction of writing.
    """
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


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
