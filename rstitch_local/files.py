"""Reading of regular files of limited size, and atomic writes.

A reader sees the old file or the complete new one, and a failed write keeps the old one. Independent of file formats,
except for JSON conveniences.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from rstitch_local.errors import InputError, StorageError
from rstitch_local.sanitize import one_line

# Not every system has a quota error.
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# A file name may have 255 bytes; the start of it is enough to recognize a temporary file.
_NAME_CHARACTERS = 40
_RANDOM_BYTES, _TEMPORARY_SUFFIX = 4, ".new"
INVALID_RECORD = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What converting a JSON value can raise that somebody else has written: other types, infinity, deep nesting."""


def exists(path: Path) -> bool:
    """Return whether there is a file or a folder; False if the path is too long or may not be examined."""
    # Path.exists raises an error there before Python 3.14, as do is_file and is_dir.
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file; False as for `exists`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False as for `exists`."""
    return os.path.isdir(path)  # noqa: PTH112


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        max_bytes: the largest size. Every file that is read as a whole has a limit.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        is_larger = os.fstat(file.fileno()).st_size > max_bytes
        data = b"" if is_larger else file.read(max_bytes + 1)
    # The size of a file in /proc is 0.
    if is_larger or len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"The file is too large, more than {max_bytes:,} bytes", str(path))
    return data


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, if it is a regular one: reading a pipe or a device can wait or go on forever.

    Raises:
        OSError: it cannot be opened or is not a regular file, or no file can have this path; `strerror` is for users.
    """
    try:
        _require_regular(path, path.stat().st_mode)
        # Opened without waiting, in case it was replaced by a pipe in the meantime.
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  Path.open has no opener
    except ValueError as error:
        raise OSError(errno.EINVAL, f"Invalid path ({error})", one_line(path)) from None
    try:
        _require_regular(path, os.fstat(file.fileno()).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Is a pipe or a device", str(path))


def _open_without_waiting(path: str, flags: int) -> int:
    # Windows has neither this flag nor pipes among its files.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: Path, max_bytes: int) -> Any:
    """Return the value of a JSON file in UTF-8.

    Raises:
        OSError: as `read_regular`.
        ValueError: as `parse_json`.
    """
    return parse_json(read_regular(path, max_bytes))


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
    if is_special(target):
        # The system administrator could replace the device.
        raise StorageError(f"Cannot write {what}", f"{path} is a pipe or a device.", "Use another name.")
    temporary = target.with_name(f"{_temporary_start(target)}{secrets.token_hex(_RANDOM_BYTES)}{_TEMPORARY_SUFFIX}")
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


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that killed processes left beside a file. No other process may be writing it."""
    target = Path(os.path.realpath(path))
    temporary = re.compile(re.escape(_temporary_start(target)) + f"[0-9a-f]{{{2 * _RANDOM_BYTES}}}{_TEMPORARY_SUFFIX}")
    with suppress(OSError):
        for file in target.parent.iterdir():
            if temporary.fullmatch(file.name):
                file.unlink(missing_ok=True)


def _temporary_start(target: Path) -> str:
    return f".{target.name[:_NAME_CHARACTERS]}."


def parse_json(data: bytes | str, parse_constant: Callable[[str], Any] = float) -> Any:
    """Parse JSON that a user, another program or a fault of the disk may have changed.

    Args:
        data: the text.
        parse_constant: converts NaN, Infinity and -Infinity, which are not JSON, though Python reads and writes them.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a number that arithmetic with floats cannot use.
    """
    try:
        return json.loads(data, parse_int=_integer, parse_float=_finite, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _integer(text: str) -> int:
    value = int(text)
    # Seeds have 64 bits.
    if abs(value) >= 2**64:
        raise ValueError("a number is too large")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def require_file(path: Path) -> None:
    """Raise InputError if a path leads to a pipe or a device, which may block or have no end."""
    if is_special(path):
        raise InputError("Not a file", f"{path} is a pipe or a device.", "Put a file in its place, or remove it.")


def is_special(path: Path) -> bool:
    """Return whether a path leads to a pipe, a socket or a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        # Missing, or an error that opening it reports.
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def storage_error(path: Path, error: OSError, *, what: str = "file") -> StorageError:
    """Return the StorageError for an OSError raised while writing `path`."""
    message = f"{path}: {error.strerror or error}."
    if error.errno in DISK_FULL:
        return StorageError("Disk full", message, "Free some space and try again.")
    return StorageError(f"Cannot write {what}", message, "Check its permissions, or use another folder.")
