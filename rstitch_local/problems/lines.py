"""Crash-safe files of lines: a line is appended completely or not at all, and a partial last line is removed.

Independent of the content of the lines.
"""

from __future__ import annotations

import os
from pathlib import Path

from rstitch_local.files import storage_error

_BLOCK_BYTES = 1 << 16


def append_line(path: Path, line: bytes) -> None:
    """Append a line and flush it to disk.

    Raises:
        StorageError: the line cannot be written; the file is unchanged.
    """
    try:
        # Unbuffered, because `close` would retry bytes that a full disk has refused.
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(line):
                    written += file.write(line[written:])
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
    except OSError as error:
        raise storage_error(path, error) from error


def remove_partial_line(path: Path) -> None:
    """Remove a last line without a line end, left by a crash. Reads the end of the file only.

    Raises:
        StorageError: the file cannot be read or written.
    """
    try:
        with path.open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _BLOCK_BYTES)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                end = start + newline + 1
                if newline >= 0:
                    break
            if end < size:
                file.truncate(end)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error
