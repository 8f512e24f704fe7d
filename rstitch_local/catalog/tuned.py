"""`tuned.toml`: the routers saved by `rstitch tune --save`, one table per pair.

Independent of routers. The file is merged between the shipped models.toml and the user's: a `tau` or `router` in the
user's file takes precedence. Comments and other tables are preserved when a router is saved.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rstitch_local import paths
from rstitch_local.errors import UsageError
from rstitch_local.files import write_atomic
from rstitch_local.sanitize import one_line
from rstitch_local.toml_files import read_toml

_HEADER = """\
# Routers that `rstitch tune --save` chose on this machine, by pair.
# A tau or router in your models.toml takes precedence. Remove a table to use the pair's default router.
"""
_KEY = "router"
_TITLE = "Cannot read tuned.toml"


def read_tuned(path: Path | None = None) -> dict[str, str]:
    """Return the tuned router of each pair; empty if there is no file.

    Args:
        path: the file; None for `paths.tuned_file()`.

    Raises:
        UsageError: the file cannot be read or is invalid.
    """
    return _routers_of(path or paths.tuned_file())[0]


def save_tuned(pair: str, router: str, comment: str, path: Path | None = None) -> Path:
    """Save the router of a pair and keep the rest of the file unchanged.

    Args:
        pair: name of the pair.
        router: its spec.
        comment: written behind the router.
        path: the file; None for `paths.tuned_file()`.

    Returns:
        The file.

    Raises:
        UsageError: the existing file cannot be read or changed.
        StorageError: the file cannot be written.
    """
    path = path or paths.tuned_file()
    routers, text = _routers_of(path)
    line = f"{_KEY} = {json.dumps(router)}  # {comment}"
    if pair in routers:
        text = _with_line(text, pair, line)
    else:
        text = f"{(text or _HEADER).rstrip()}\n\n[{json.dumps(pair)}]\n{line}\n"
    # TOML can be written in many ways: do not write a text that does not have the intended meaning.
    if not _means(text, {**routers, pair: router}):
        raise UsageError(
            "Cannot save tuned router",
            f"The table of {pair} in {path} has an unsupported layout.",
            f"Add this line yourself: {line}",
        )
    write_atomic(path, text, what="tuned router")
    return path


def _routers_of(path: Path) -> tuple[dict[str, str], str]:
    """Return the routers of the file and its text."""
    file = read_toml(path, _TITLE)
    if file is None:
        return {}, ""
    try:
        return _routers_in(file.tables), file.text
    except ValueError as error:
        raise UsageError(_TITLE, f"{path}: {error}.", "Correct or delete the file.") from None


def _routers_in(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return the router of each table; raises ValueError for other contents."""
    routers = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not isinstance(table.get(_KEY), str) or len(table) > 1:
            raise ValueError(f"{json.dumps(one_line(name))} must be a table with the key {_KEY} and no other")
        routers[name] = table[_KEY]
    return routers


def _means(text: str, routers: dict[str, str]) -> bool:
    try:
        return _routers_in(tomllib.loads(text)) == routers
    except ValueError:
        return False


def _with_line(text: str, pair: str, line: str) -> str:
    """Return the text with a new line for the router of a table; unchanged if the table is not found."""
    lines = text.splitlines()
    spellings = {pair, json.dumps(pair), f"'{pair}'"}
    inside = False
    for index, old in enumerate(lines):
        header = re.match(r"\s*\[\s*(.+?)\s*\]\s*(#.*)?$", old)
        if header:
            inside = header[1] in spellings
        elif inside and re.match(rf"\s*[\"']?{_KEY}[\"']?\s*=", old):
            lines[index] = line
            break
    return "\n".join(lines) + "\n"
