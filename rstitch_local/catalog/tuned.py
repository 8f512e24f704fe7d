"""`tuned.toml`: the router that `rstitch tune --save` found for a pair, one table a pair.

Knows the file, and keeps what a user wrote into it; nothing of routers. It lies between the shipped models.toml and
the user's own: where the user's says `tau` or `router` of a pair, what was tuned does not count.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from rstitch_local import paths
from rstitch_local.errors import UsageError
from rstitch_local.files import write_atomic

_HEAD = """\
# Routers that `rstitch tune --save` chose on this machine, by pair.
# A tau or a router in your models.toml counts more. Remove a table to go back to the pair's own router.
"""
_KEY = "router"


def read_tuned(path: Path | None = None) -> dict[str, str]:
    """The tuned router of each pair; nothing where there is no file.

    Args:
        path: the file, when not `paths.tuned_file()`.

    Raises:
        UsageError: the file is not what `rstitch tune --save` writes, with the file and what is wrong.
    """
    path = path or paths.tuned_file()
    try:
        return _routers(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "The tuned routers cannot be read", f"{path}: {error}.", "Correct it, or remove the file."
        ) from None
    except OSError as error:
        raise UsageError("The tuned routers cannot be read", f"{path}: {error.strerror or error}.") from None


def save_tuned(pair: str, router: str, why: str, path: Path | None = None) -> Path:
    """Write the router of a pair; the other tables and all comments stay as they are.

    Args:
        pair: its name in the catalogue.
        router: its spec.
        why: half a line that is put beside it as a comment.
        path: the file, when not `paths.tuned_file()`.

    Returns:
        The file.

    Raises:
        UsageError: the file that is there cannot be read.
        StorageError: it cannot be written.
    """
    path = path or paths.tuned_file()
    known = read_tuned(path)
    line = f"{_KEY} = {json.dumps(router)}  # {why}"
    header = f"[{json.dumps(pair)}]"
    text = path.read_text(encoding="utf-8-sig") if path.exists() else _HEAD
    text = _replaced(text, pair, line) if pair in known else f"{text.rstrip()}\n\n{header}\n{line}\n"
    # However a user wrote the file: it is left alone unless it then says what it should.
    if not _says(text, {**known, pair: router}):
        raise UsageError(
            "The tuned router cannot be saved",
            f"The table of {pair} in {path} is written in a way of its own.",
            f"Write into it: {line}",
        )
    write_atomic(path, text, what="tuned router")
    return path


def _says(text: str, routers: dict[str, str]) -> bool:
    try:
        return _routers(text) == routers
    except ValueError:
        return False


def _routers(text: str) -> dict[str, str]:
    """The router of each table; raises ValueError for a text that is not such a file."""
    routers = {}
    for name, table in tomllib.loads(text).items():
        if not isinstance(table, dict) or not isinstance(table.get(_KEY), str) or len(table) > 1:
            raise ValueError(f"{json.dumps(name)} is to be a table with a {_KEY} and nothing else")
        routers[name] = table[_KEY]
    return routers


def _replaced(text: str, pair: str, line: str) -> str:
    """The text with the router of one table on a new line; as it is where the table is not found."""
    lines = text.splitlines()
    spellings = {pair, json.dumps(pair), f"'{pair}'"}
    inside = False
    for place, old in enumerate(lines):
        header = re.match(r"\s*\[\s*(.+?)\s*\]\s*(#.*)?$", old)
        if header:
            inside = header[1] in spellings
        elif inside and re.match(rf"\s*[\"']?{_KEY}[\"']?\s*=", old):
            lines[place] = line
            break
    return "\n".join(lines) + "\n"
