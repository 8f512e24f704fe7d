"""The pairs there are: the shipped models.toml, what was tuned, and the user's own file, each laid over the others.

Knows what the files say and how to report what is wrong in them; nothing of disks or downloads.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rstitch_local import paths
from rstitch_local.catalog.schema import ModelFile, PairEntry, Parts, SamplingDefaults
from rstitch_local.catalog.tuned import read_tuned
from rstitch_local.errors import ModelError, UsageError

Table = dict[str, Any]
Location = tuple[int | str, ...]

_TABLES: dict[str, type[BaseModel]] = {
    "slm": ModelFile,
    "llm": ModelFile,
    "sampling": SamplingDefaults,
    "parts": Parts,
}
# What identifies the bytes: another one of these means another file, whose size and sum are not the shipped.
_IDENTITY = ("file", "repo", "revision", "builtin")
_MAX_REPORTED = 6


class Catalogue:
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
        """The names of all pairs."""
        return list(self._entries)

    def get(self, name: str) -> PairEntry:
        """The entry called `name`; raises ModelError with the nearest name when there is none."""
        entry = self._entries.get(name)
        if entry is None:
            raise self._unknown(name)
        return entry

    def _unknown(self, name: str) -> ModelError:
        near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        return ModelError(
            "No such pair",
            f"The catalogue has no pair called {name!r}.",
            f"{hint}`rstitch pairs` lists them all.",
        )


def shipped_path() -> Path:
    """The models.toml of the program: beside this module in a wheel, at the root in a checkout."""
    beside = Path(__file__).with_name("models.toml")
    return beside if beside.is_file() else Path(__file__).parents[2] / "models.toml"


def load_catalogue(*, shipped: Path | None = None, user: Path | None = None) -> Catalogue:
    """Read the files and check every entry.

    Args:
        shipped: the file that ships, when not the usual one.
        user: the user's own file, when not `paths.user_catalogue()`; it need not exist.

    Raises:
        UsageError: broken TOML, an unknown key, a wrong type: with the file, the key and what would be right.
    """
    shipped = shipped or shipped_path()
    user = user or paths.user_catalogue()
    base = _read(shipped)
    own = _read(user) if user.is_file() else {}
    tuned = read_tuned()
    entries: list[PairEntry] = []
    problems: list[str] = []
    for name in [*base, *(n for n in own if n not in base)]:
        merged = _merge(base.get(name, {}), own.get(name, {}))
        _anchor_paths(merged, own.get(name), user.parent)
        if name in tuned and isinstance(merged, dict) and not says_router(own.get(name)):
            merged["router"] = tuned[name]
        # The shipped file is right by itself, so what is wrong with a pair comes from the user's, if it is there.
        entry = _validate(name, merged, user if name in own else shipped, problems)
        if entry is not None:
            entries.append(entry)
    if problems:
        more = len(problems) - _MAX_REPORTED
        shown = problems[:_MAX_REPORTED] + ([f"... and {more} more."] if more > 0 else [])
        raise UsageError("The catalogue cannot be used", "\n".join(shown), f"Keys are explained in {shipped}.")
    return Catalogue(entries)


def says_router(table: Any) -> bool:
    """Whether a user's table of a pair says itself who writes, so that what was tuned does not count."""
    return isinstance(table, dict) and ("tau" in table or "router" in table)


def user_says_router(pair: str) -> bool:
    """Whether the user's models.toml says who writes for a pair; raises UsageError when it cannot be read."""
    path = paths.user_catalogue()
    return path.is_file() and says_router(_read(path).get(pair))


def _read(path: Path) -> Table:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UsageError("The catalogue cannot be read", f"{path}, line {line}: not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError("The catalogue cannot be read", f"{path}: {error}.", "The file is TOML.") from None
    except OSError as error:
        raise UsageError("The catalogue cannot be read", f"{path}: {error.strerror or error}.") from None


def _merge(base: Any, own: Any) -> Any:
    """Lay `own` over `base`, key by key inside tables."""
    if not (isinstance(base, dict) and isinstance(own, dict)):
        return own
    merged = dict(base)
    if any(key in own and own[key] != base.get(key) for key in _IDENTITY):
        for key in ("size", "sha256", "parts"):
            merged.pop(key, None)
        if "repo" in own:
            merged.pop("revision", None)
    for key, value in own.items():
        merged[key] = _merge(base[key], value) if key in base else value
    return merged


def _anchor_paths(merged: Any, own: Any, folder: Path) -> None:
    """Make a relative `path` of the user's file mean: beside that file."""
    for role in ("slm", "llm"):
        table = own.get(role) if isinstance(own, dict) else None
        if isinstance(table, dict) and isinstance(table.get("path"), str):
            path = Path(table["path"]).expanduser()
            merged[role] = {**merged[role], "path": str(path if path.is_absolute() else folder / path)}


def _validate(name: str, merged: Any, source: Path, problems: list[str]) -> PairEntry | None:
    if not isinstance(merged, dict):
        problems.append(f"{source}: {_quoted(name)} must be a table, as in [{_quoted(name)}].")
        return None
    if "name" in merged:
        problems.append(f"{source}: {_quoted(name)}.name: the table is the name, take this key out.")
        return None
    try:
        return PairEntry.model_validate({**merged, "name": name})
    except ValidationError as error:
        problems.extend(f"{source}: {_explain(name, item)}" for item in error.errors())
        return None


def _explain(name: str, item: Any) -> str:
    loc: Location = item["loc"]
    key = ".".join([_quoted(name), *(str(part) for part in loc)])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}{_suggestion(name, loc, item.get('input'))}"
    if item["type"] == "missing":
        return f"{key} is missing."
    if item["type"] == "model_type":
        return f"{key} must be a table."
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{key} {text}."
    if item["type"] == "string_pattern_mismatch":
        return f"{key} = {item['input']!r} is not a valid {loc[-1] if loc else 'name'}."
    text = text.removeprefix("Input ").rstrip(".")
    shown = repr(item["input"])
    return f"{key} = {shown if len(shown) <= 60 else shown[:57] + '...'}: {text}."


def _suggestion(name: str, loc: Location, value: Any) -> str:
    model: type[BaseModel] = PairEntry
    for part in loc[:-1]:
        model = _TABLES.get(str(part), model)
    known = [key for key in model.model_fields if model is not PairEntry or key != "name"]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    if isinstance(value, dict) and len(loc) == 1:
        return f'; a name with a dot is written in quotes: ["{name}.{loc[0]}"].'
    return f"; known keys: {', '.join(known)}."


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name
