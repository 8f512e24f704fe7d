"""Atomic file writes: a reader sees the old file or the complete new one, and a failed write keeps the old one.

Independent of file formats, except for a JSON convenience.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rstitch_local.errors import StorageError

# Not every system has a quota error.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# A file name may have 255 bytes; the start of it is enough to recognize a temporary file.
_NAME_CHARACTERS = 40


def write_atomic(path: Path, data: str | bytes, *, what: str = "file") -> None:
    """Write a whole file, creating its folder where needed.

    Args:
        path: the file; the target of a symbolic link is replaced, not the link.
        data: bytes, or text, which is written as UTF-8 with line ends unchanged and lone surrogates as `?`.
        what: names the file in the title of an error ("Cannot write calibration").

    Raises:
        StorageError: the file cannot be written; the old one is unchanged.
    """
    with open_atomic(path, what=what) as file:
        file.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)


def write_json(path: Path, value: Any, *, indent: int | None = 1, what: str = "file") -> None:
    """Write a value as ASCII JSON; see `write_atomic`."""
    write_atomic(path, json.dumps(value, indent=indent) + "\n", what=what)


@contextmanager
def open_atomic(path: Path, *, what: str = "file") -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, which replaces `path` when the block ends without an error.

    Raises:
        StorageError: the file cannot be written; the old one is unchanged.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:_NAME_CHARACTERS]}.{secrets.token_hex(4)}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                # A replaced file whose bytes never reached the disk would be empty after a power failure.
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(path, error, what=what) from error


def storage_error(path: Path, error: OSError, *, what: str = "file") -> StorageError:
    """Return the StorageError for an OSError raised while writing `path`."""
    message = f"{path}: {error.strerror or error}."
    if error.errno in DISK_FULL:
        return StorageError("Disk full", message, "Free some space and try again.")
    return StorageError(f"Cannot write {what}", message, "Check its permissions, or use another folder.")
