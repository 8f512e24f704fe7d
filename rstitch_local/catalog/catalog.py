"""The catalog of pairs: the shipped models.toml, tuned.toml and the user's models.toml, merged in this order.

Reports errors in the files; independent of model files and downloads.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rstitch_local import paths
from rstitch_local.catalog.schema import ModelFile, PairEntry, Parts, SamplingDefaults
from rstitch_local.catalog.tuned import read_tuned
from rstitch_local.errors import ModelError, UsageError
from rstitch_local.sanitize import one_line
from rstitch_local.toml_files import read_toml

Table = dict[str, Any]
Location = tuple[int | str, ...]

_TABLES: dict[str, type[BaseModel]] = {
    "slm": ModelFile,
    "llm": ModelFile,
    "sampling": SamplingDefaults,
    "parts": Parts,
}
# Keys that identify a file. If one of them changes, the shipped size and checksum no longer apply.
_IDENTITY = ("file", "repo", "revision", "builtin")
_MAX_REPORTED = 6
_KEY_CHARACTERS = 60


class Catalog:
    """All pairs, in the order of the files."""

    def __init__(self, entries: Iterable[PairEntry]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[PairEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def names(self) -> list[str]:
        """Names of all pairs."""
        return list(self._entries)

    def get(self, name: str) -> PairEntry:
        """Return a pair by name; raises ModelError, with the nearest name, for an unknown one."""
        entry = self._entries.get(name)
        if entry is None:
            raise self._unknown(name)
        return entry

    def _unknown(self, name: str) -> ModelError:
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        return ModelError(
            "Unknown pair",
            f"There is no pair {one_line(repr(name))} in the catalog.",
            f"{hint}`rstitch pairs` lists all pairs.",
        )


def shipped_path() -> Path:
    """Return the path of the shipped models.toml: beside this module in a wheel, at the root of a checkout."""
    beside = Path(__file__).with_name("models.toml")
    return beside if beside.is_file() else Path(__file__).parents[2] / "models.toml"


def load_catalog(*, shipped: Path | None = None, user: Path | None = None) -> Catalog:
    """Read the files and check every entry.

    Args:
        shipped: path of the shipped file; None for the default.
        user: path of the user's file, which may be missing; None for `paths.user_catalog()`.

    Raises:
        UsageError: invalid TOML, an unknown key or a wrong value, with the file and the key.
    """
    shipped = shipped or shipped_path()
    user = user or paths.user_catalog()
    base = _read(shipped)
    if base is None:
        raise UsageError("Cannot read models.toml", f"{shipped} does not exist.", "Reinstall the program.")
    changes = _read(user) or {}
    tuned = read_tuned()
    entries: list[PairEntry] = []
    problems: list[str] = []
    for name in [*base, *(n for n in changes if n not in base)]:
        merged = _merge(base.get(name, {}), changes.get(name, {}))
        _anchor_paths(merged, changes.get(name), user.parent)
        if name in tuned and isinstance(merged, dict) and not sets_router(changes.get(name)):
            merged["router"] = tuned[name]
        # The shipped file is valid, so an error in a pair is due to the user's file if that has the pair.
        entry = _validate(name, merged, user if name in changes else shipped, problems)
        if entry is not None:
            entries.append(entry)
    if problems:
        more = len(problems) - _MAX_REPORTED
        shown = problems[:_MAX_REPORTED] + ([f"... and {more} more."] if more > 0 else [])
        raise UsageError("Invalid models.toml", "\n".join(shown), f"{shipped} explains all keys.")
    return Catalog(entries)


def sets_router(table: Any) -> bool:
    """Return whether a user's table of a pair sets a tau or router, which takes precedence over a tuned one."""
    return isinstance(table, dict) and ("tau" in table or "router" in table)


def user_sets_router(pair: str) -> bool:
    """Return whether the user's models.toml sets a tau or router for a pair; raises UsageError if it is invalid."""
    return sets_router((_read(paths.user_catalog()) or {}).get(pair))


def _read(path: Path) -> Table | None:
    file = read_toml(path, "Cannot read models.toml")
    return None if file is None else file.tables


def _merge(base: Any, changes: Any) -> Any:
    """Return `base` with the values of `changes`; tables are merged key by key."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    merged = dict(base)
    if any(key in changes and changes[key] != base.get(key) for key in _IDENTITY):
        for key in ("size", "sha256", "parts"):
            merged.pop(key, None)
        if "repo" in changes:
            merged.pop("revision", None)
    for key, value in changes.items():
        merged[key] = _merge(base[key], value) if key in base else value
    return merged


def _anchor_paths(merged: Any, changes: Any, folder: Path) -> None:
    """Resolve a relative `path` of the user's file against the folder of that file."""
    for role in ("slm", "llm"):
        table = changes.get(role) if isinstance(changes, dict) else None
        if isinstance(table, dict) and isinstance(table.get("path"), str):
            path = paths.expanded(table["path"])
            merged[role] = {**merged[role], "path": str(path if path.is_absolute() else folder / path)}


def _validate(name: str, merged: Any, source: Path, problems: list[str]) -> PairEntry | None:
    if not isinstance(merged, dict):
        problems.append(f"{source}: {_shown(name)} must be a table, as in [{_shown(name)}].")
        return None
    if "name" in merged:
        problems.append(
            f"{source}: {_shown(name)}.name: remove this key; the name of the table is the name of the pair."
        )
        return None
    try:
        return PairEntry.model_validate({**merged, "name": name})
    except ValidationError as error:
        # A file can have many thousands of errors; those that are not shown are counted.
        found = error.errors()
        explained = max(0, _MAX_REPORTED - len(problems))
        problems.extend(f"{source}: {_explain(name, item)}" for item in found[:explained])
        problems.extend("" for _ in found[explained:])
        return None


def _explain(name: str, item: Any) -> str:
    loc: Location = item["loc"]
    key = ".".join([_shown(name), *(one_line(part, _KEY_CHARACTERS) for part in loc)])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(name, loc, item.get('input'))}"
    if item["type"] == "missing":
        return f"{key} is missing."
    if item["type"] == "model_type":
        return f"{key} must be a table."
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{key} {text}."
    value = one_line(repr(item["input"]), 60)
    if item["type"] == "string_pattern_mismatch":
        return f"{key} = {value} is not a valid {loc[-1] if loc else 'name'}."
    text = text.removeprefix("Input ").rstrip(".")
    return f"{key} = {value}: {text}."


def _suggestion(name: str, loc: Location, value: Any) -> str:
    model: type[BaseModel] = PairEntry
    for part in loc[:-1]:
        model = _TABLES.get(str(part), model)
    known = [key for key in model.model_fields if model is not PairEntry or key != "name"]
    key = one_line(loc[-1], _KEY_CHARACTERS)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    if isinstance(value, dict) and len(loc) == 1:
        return f'; quote a name with a dot: ["{one_line(name, _KEY_CHARACTERS)}.{key}"].'
    return f"; known keys: {', '.join(known)}."


def _shown(name: str) -> str:
    """Return the name of a pair as it is written in the file, shortened."""
    shown = one_line(name, _KEY_CHARACTERS)
    return f'"{shown}"' if "." in shown else shown
