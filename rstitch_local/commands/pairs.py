"""`rstitch pairs`: what the catalogue holds and what of it is on this disk.

Knows how the list looks, on a terminal, in a pipe and as JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from rstitch_local.commands.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from rstitch_local.catalog.schema import PairEntry
    from rstitch_local.catalog.store import FileState, PairState

_STYLES = {"on disk": "green", "partial": "yellow", "wrong size": "red", "missing": "dim"}


def pairs(as_json: JsonOption = False) -> None:
    """List the pairs: files, sizes, what is on disk, licence, memory needed."""
    # Imported here to keep `rstitch --help` fast: pydantic takes 0.1 s.
    from rstitch_local.catalog.catalogue import load_catalogue
    from rstitch_local.catalog.store import state

    listed = [(entry, state(entry)) for entry in load_catalogue()]
    if as_json:
        typer.echo(json.dumps({"pairs": [_as_json(entry, found) for entry, found in listed]}, indent=2))
        return
    from rich.console import Console

    screen = Console()
    screen.print(_table(listed))
    typer.echo("\nUnder each name: memory needed, licence ('?': not known here).")
    default = next((entry.name for entry, found in listed if found.ready), None)
    if default is not None:
        typer.echo(f"Without --pair, {default} is used.")
    if default in (None, "demo"):
        typer.echo("`rstitch pull qwen2.5-coder` brings the smallest pair for everything.")


def _table(listed: list[tuple[PairEntry, PairState]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from rstitch_local.text import human_bytes

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 1))
    table.add_column("pair", no_wrap=True, overflow="ellipsis", max_width=17)
    table.add_column("small model, large model", overflow="fold", ratio=1)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for entry, found in listed:
        files = (found.slm, found.llm)
        memory = "?" if entry.memory_gb is None else f"{entry.memory_gb:g} GB"
        facts = [(entry.name, "bold"), (memory, ""), (entry.licence, "dim")]
        sizes = [file.wanted if file.wanted is not None else file.size or None for file in files]
        table.add_row(
            Text("\n").join(Text(_clean(text), style=style) for text, style in facts),
            Text("\n").join(Text(_clean(file.file.file)) for file in files),
            Text("\n".join("?" if size is None else human_bytes(size) for size in sizes)),
            Text("\n").join(Text(file.status, style=_STYLES[file.status]) for file in files),
        )
    return table


def _as_json(entry: PairEntry, found: PairState) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "licence": entry.licence,
        "memory_gb": entry.memory_gb,
        "context": entry.context,
        "tau": entry.tau,
        "router": entry.router,
        "on_disk": found.ready,
        "slm": _file_as_json(found.slm),
        "llm": _file_as_json(found.llm),
    }


def _file_as_json(file: FileState) -> dict[str, Any]:
    return {
        "file": file.file.file,
        "path": str(file.path),
        "state": str(file.status),
        "size": file.wanted,
        "size_on_disk": file.size,
        "licence": file.file.licence,
        "repo": file.file.repo,
    }


def _clean(text: str) -> str:
    """Text of the user's catalogue without control characters, which could steer a terminal."""
    return "".join(c for c in text if c.isprintable())
