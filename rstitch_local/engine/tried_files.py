"""Which files this machine has loaded before, by path, size and modification time, or else by SHA-256.

The record saves time; it does not protect against an attacker who can write to the cache folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rstitch_local import paths
from rstitch_local.catalog.checksums import cached_sha256, sha256_of
from rstitch_local.errors import StorageError
from rstitch_local.files import INVALID_RECORD, read_json, write_json
from rstitch_local.llama import library

_QUICKLY_READ_BYTES = 64 << 20
"""The SHA-256 of larger files is recorded only if it is known already, from a download for example."""

_MAX_ENTRIES = 1000
_MAX_RECORD_BYTES = 1 << 22


class _Stamp(NamedTuple):
    size: int
    mtime_ns: int


class _Entry(NamedTuple):
    stamp: _Stamp
    sha256: str | None
    llama_cpp: str


class FilesOnTrial:
    """Files as they are when their trial starts.

    Args:
        files: their paths.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._stamps = {path: _stamp(path) for path in files}

    def were_tried(self) -> bool:
        """Return whether the installed llama.cpp has loaded all these files, or copies of them, on this machine.

        Reads a file whose size is that of a recorded file with a known SHA-256.
        """
        version = _llama_cpp()
        entries = {path: entry for path, entry in _load().items() if entry.llama_cpp == version}
        return all(stamp is not None and _is_recorded(path, stamp, entries) for path, stamp in self._stamps.items())

    def record(self) -> None:
        """Record that the files were loaded, unless they have changed; a record that cannot be written is ignored."""
        with contextlib.suppress(OSError, StorageError):
            entries = _load()
            for path, stamp in self._stamps.items():
                if stamp is not None and _stamp(path) == stamp:
                    sha256 = sha256_of(path) if stamp.size <= _QUICKLY_READ_BYTES else cached_sha256(path)
                    entries.pop(_key(path), None)
                    entries[_key(path)] = _Entry(stamp, sha256, _llama_cpp())
            newest = list(entries.items())[-_MAX_ENTRIES:]
            write_json(_record_file(), {path: entry._asdict() for path, entry in newest})


def _is_recorded(path: Path, stamp: _Stamp, entries: Mapping[str, _Entry]) -> bool:
    here = entries.get(_key(path))
    if here is not None and here.stamp == stamp:
        return True
    sums = {entry.sha256 for entry in entries.values() if entry.stamp.size == stamp.size and entry.sha256}
    try:
        return bool(sums) and sha256_of(path) in sums
    except OSError:
        return False


def _key(path: Path) -> str:
    return str(path.resolve())


def _stamp(path: Path) -> _Stamp | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return _Stamp(info.st_size, info.st_mtime_ns)


def _llama_cpp() -> str:
    """Return the version of llama.cpp: another one may crash on a file that this one loads."""
    build = library.build()
    return f"{build.binding}, {build.llama_cpp}"


def _record_file() -> Path:
    return paths.cache_dir() / "tried_models.json"


def _load() -> dict[str, _Entry]:
    try:
        value = read_json(_record_file(), _MAX_RECORD_BYTES)
        return {
            path: _Entry(_Stamp(*entry["stamp"]), entry["sha256"], entry["llama_cpp"]) for path, entry in value.items()
        }
    except (OSError, *INVALID_RECORD):
        # A damaged record costs another trial.
        return {}
