"""The sha256 of a file, worked out once and remembered while the file stays the same.

Knows nothing of catalogues. A remembered sum serves honest work (run headers, a second look at a
download); it is no defence against somebody who can write into the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstitch_local import paths
from rstitch_local.errors import StorageError
from rstitch_local.files import write_json

BLOCK_BYTES = 1 << 22


def sha256_of(path: Path, *, each_block: Callable[[int], None] | None = None) -> str:
    """The sha256 of a file in hexadecimal, from the cache when path, size and modification time are known.

    Args:
        path: the file.
        each_block: called with the number of bytes just read, for a progress display; it may raise to stop.

    Raises:
        OSError: the file cannot be read.
    """
    known = cached_sha256(path)
    if known is not None:
        return known
    before = _stamp(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if each_block is not None:
                each_block(len(block))
    if _stamp(path) == before:
        remember(path, digest.hexdigest())
    return digest.hexdigest()


def cached_sha256(path: Path) -> str | None:
    """The sum remembered for the file as it is now, or None; never reads the file itself."""
    entry = _load().get(str(path.resolve()))
    if isinstance(entry, dict) and entry.get("stamp") == _stamp(path) and isinstance(entry.get("sha256"), str):
        return str(entry["sha256"])
    return None


def remember(path: Path, sha256: str) -> None:
    """Keep a sum known to be that of the file as it is now. A cache that cannot be written is no error."""
    with contextlib.suppress(OSError, StorageError):
        known = _load()
        known[str(path.resolve())] = {"stamp": _stamp(path), "sha256": sha256}
        write_json(_cache_file(), known)


def _cache_file() -> Path:
    return paths.cache_dir() / "checksums.json"


def _stamp(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns]


def _load() -> dict[str, Any]:
    try:
        value = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
