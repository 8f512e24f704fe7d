"""Files of lines that survive a crash: a line is appended whole or not at all, half a line at the end is cut off.

Knows files and what can go wrong with them; nothing of what the lines say.
"""

from __future__ import annotations

import os
from pathlib import Path

from rstitch_local.files import storage_error

_BLOCK_BYTES = 1 << 16


def append_line(path: Path, line: bytes) -> None:
    """Add a line and see it onto the disk; raises StorageError and leaves the file as it was."""
    try:
        # Unbuffered: what a full disk refused must not be tried again when the file is closed.
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(line):
                    written += file.write(line[written:])
                os.fsync(file.fileno())
            except BaseException:
                # Half a line is worse than none.
                file.truncate(before)
                raise
    except OSError as error:
        raise storage_error(path, error) from error


def cut_last_line(path: Path) -> None:
    """Cut off a last line without an end, left by a crash; raises StorageError. Only the end is read."""
    try:
        with path.open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _BLOCK_BYTES)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                end = start if found < 0 else start + found + 1
                if found >= 0:
                    break
            if end < size:
                file.truncate(end)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error
