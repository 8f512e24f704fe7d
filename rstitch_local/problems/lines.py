"""Crash-safe files of lines: a line is appended completely or not at all, and a partial last line is removed.

Independent of the content of the lines, except that they are JSON objects.
"""

from __future__ import annotations

import os
from pathlib import Path

from rstitch_local.errors import StorageError
from rstitch_local.files import require_file, storage_error

_BLOCK_BYTES = 1 << 16


class LineFile:
    """A file of lines, JSON objects, that only this process extends.

    Every line is appended to a file of the size that the last one left: a file that another program has changed,
    replaced or deleted in between is not written.

    Args:
        path: the file; the first line creates it.
        size: its size in bytes, up to the end of the last line.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    @classmethod
    def repaired(cls, path: Path) -> LineFile:
        """Open a file and remove a partial last line, left by a crash. Reads the end of the file only.

        Text without a line end that is not the start of a JSON object is not from a crash: it gets a line end.

        Raises:
            StorageError: the file cannot be read or written.
            InputError: it is a pipe or a device.
        """
        require_file(path)
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
                    file.seek(end)
                    if is_partial(file.read(_BLOCK_BYTES)):
                        file.truncate(end)
                    else:
                        file.seek(size)
                        file.write(b"\n")
                        end = size + 1
                return cls(path, end)
        except FileNotFoundError:
            return cls(path, 0)
        except OSError as error:
            raise storage_error(path, error) from error

    def append(self, line: bytes) -> None:
        """Append a line and flush it to disk.

        Raises:
            StorageError: the line cannot be written, or the file is not as this process left it; it is unchanged.
        """
        try:
            # Unbuffered, because `close` would retry bytes that a full disk has refused.
            with os.fdopen(os.open(self.path, self._flags(), 0o666), "ab", buffering=0) as file:
                if file.seek(0, os.SEEK_END) != self._size:
                    raise StorageError(
                        "File changed",
                        f"Another program has changed {self.path}.",
                        "Completed work is kept: run the same command again to resume.",
                    )
                try:
                    written = 0
                    while written < len(line):
                        written += file.write(line[written:])
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(self._size)
                    raise
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._size += len(line)

    def _flags(self) -> int:
        # A pipe in the file's place is an error at once, instead of waiting for a reader.
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        # A file that had lines and is gone is not created again: it would look like the whole run.
        return flags if self._size else flags | os.O_CREAT


def is_partial(line: bytes) -> bool:
    """Return whether bytes without a line end can be what a crash left of a JSON object, or of the space for it."""
    return line.startswith(b"{") or not line.strip(b"\0")
