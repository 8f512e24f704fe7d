"""`rstitch pull`: download the files of a pair. The download itself is in rstitch_local/catalog/."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import echo, make_console
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, CancelledError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_MAX_NAME = 30


def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Pairs of the catalog.")],
) -> None:
    """Download the files of a pair, or resume an interrupted download."""
    # Imported here to keep `rstitch --help` fast: pydantic and rich.progress take 0.2 s.
    from rstitch_local.catalog import download
    from rstitch_local.catalog.catalog import load_catalog

    catalog = load_catalog()
    entries = [catalog.get(name) for name in dict.fromkeys(names)]
    screen = make_console(stderr=True)
    for entry in entries:
        bars = _progress(screen)
        try:
            with bars:
                files = download.pull(entry, progress=_reporter(bars, screen))
        except (KeyboardInterrupt, CancelledError):
            echo(f"Stopped. Run `rstitch pull {' '.join(names)}` to resume.", err=True)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        echo(f"{entry.name}: {files.slm}", f"{entry.name}: {files.llm}")


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
        # A log file would show the bars only once, at the end; `_reporter` prints lines instead.
        disable=not screen.is_terminal,
    )


def _reporter(bars: Progress, screen: Console) -> Callable[[str, int, int | None], None]:
    """Return a callback that updates one bar per file, or prints one line per file without a terminal."""
    from rstitch_local.sanitize import human_bytes

    tasks: dict[str, TaskID] = {}

    def report(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(_shortened(file), total=total, completed=done)
            if not screen.is_terminal and done != total:
                of = f" of {human_bytes(total)}" if total is not None else ""
                echo(f"{file}: {human_bytes(done)}{of} on disk.", err=True)
        bars.update(tasks[file], completed=done, total=total)

    return report


def _shortened(file: str) -> str:
    """Shorten a file name to fit 80 columns with the numbers; keep the end, which distinguishes files best."""
    return file if len(file) <= _MAX_NAME else "…" + file[1 - _MAX_NAME :]
