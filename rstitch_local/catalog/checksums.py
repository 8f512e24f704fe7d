"""SHA-256 checksums of files, cached until a file changes.

The cache saves time (run headers, repeated checks of a download); it does not protect against an attacker who can
write to the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstitch_local import paths
from rstitch_local.errors import StorageError
from rstitch_local.files import open_regular, read_json, write_json

BLOCK_BYTES = 1 << 22
_MAX_CACHE_BYTES = 1 << 24


def sha256_of(path: Path, *, on_block: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file, from the cache if its size and modification time are unchanged.

    Args:
        path: the file.
        on_block: called with the number of bytes of each block read, to report progress; may raise to stop.

    Raises:
        OSError: the file cannot be read.
    """
    cached = cached_sha256(path)
    if cached is not None:
        return cached
    before = _stamp(path)
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if on_block is not None:
                on_block(len(block))
    if _stamp(path) == before:
        cache_sha256(path, digest.hexdigest())
    return digest.hexdigest()


def cached_sha256(path: Path) -> str | None:
    """Return the cached SHA-256 of a file if the file is unchanged, else None; does not read the file."""
    entry = _load().get(str(path.resolve()))
    if isinstance(entry, dict) and entry.get("stamp") == _stamp(path) and isinstance(entry.get("sha256"), str):
        return str(entry["sha256"])
    return None


def cache_sha256(path: Path, sha256: str) -> None:
    """Cache the SHA-256 of a file; a cache that cannot be written is ignored."""
    with contextlib.suppress(OSError, StorageError):
        cache = _load()
        cache[str(path.resolve())] = {"stamp": _stamp(path), "sha256": sha256}
        write_json(_cache_file(), cache)


def _cache_file() -> Path:
    return paths.cache_dir() / "checksums.json"


def _stamp(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns]


def _load() -> dict[str, Any]:
    try:
        value = read_json(_cache_file(), _MAX_CACHE_BYTES)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
