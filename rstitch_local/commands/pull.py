"""`rstitch pull`: bring the files of a pair onto this disk.

Knows how a download looks on a terminal and nothing of how it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.errors import INTERRUPTED_EXIT_CODE, CancelledError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Pairs of the catalogue.")],
) -> None:
    """Download the files of a pair, or go on with a download that broke off."""
    # Imported here to keep `rstitch --help` fast: pydantic and rich.progress take 0.2 s.
    from rich.console import Console

    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.download import pull as bring

    catalogue = load_catalog()
    entries = [catalogue.get(name) for name in dict.fromkeys(names)]
    screen = Console(stderr=True)
    for entry in entries:
        bars = _progress(screen)
        try:
            with bars:
                files = bring(entry, progress=_reporter(bars, screen))
        except (KeyboardInterrupt, CancelledError):
            again = " ".join(names)
            screen.print(f"Stopped. What is there is kept: `rstitch pull {again}` goes on.", markup=False)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        typer.echo(f"{entry.name}: {files.slm}")
        typer.echo(f"{entry.name}: {files.llm}")


def _progress(screen: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=screen,
        # In a log file a bar would only be drawn once, at the end; `_reporter` prints a line instead.
        disable=not screen.is_terminal,
    )


def _reporter(bars: Progress, screen: Console) -> Callable[[str, int, int | None], None]:
    """A callback that keeps one bar a file, or prints one line a file where there is no terminal."""
    from rstitch_local.sanitize import human_bytes

    tasks: dict[str, TaskID] = {}

    def report(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(_shortened(file), total=total, completed=done)
            if not screen.is_terminal and done != total:
                of = f" of {human_bytes(total)}" if total is not None else ""
                screen.print(f"{file}: {human_bytes(done)}{of} on this disk.", markup=False, soft_wrap=True)
        bars.update(tasks[file], completed=done, total=total)

    return report


def _shortened(file: str, width: int = 30) -> str:
    """A file name that leaves room for the numbers in 80 columns; its end tells files apart best."""
    return file if len(file) <= width else "…" + file[1 - width :]
