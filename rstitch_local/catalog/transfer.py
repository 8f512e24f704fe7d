"""Common parts of all download sources: partial files with a running checksum, free space, stopping.

Independent of where the bytes come from.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from rstitch_local.errors import CancelledError, DownloadError, StorageError
from rstitch_local.files import DISK_FULL
from rstitch_local.sanitize import human_bytes

Progress = Callable[[str, int, int | None], None]
"""Called with the name of the file, the bytes on disk, and the total bytes (None if unknown)."""
ShouldStop = Callable[[], bool]
"""Polled between blocks; True stops the download, which can be resumed."""

RESERVE_BYTES = 64 << 20
"""Space that a download leaves free."""


class SourceError(DownloadError):
    """One source of a file failed; another one may succeed."""


def require_space(folder: Path, needed: int) -> None:
    """Raise StorageError unless `needed` bytes and a reserve are free on the disk of `folder`."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # The file system does not report it; writing will fail if it is full.
    if free < needed + RESERVE_BYTES:
        raise StorageError(
            "Disk full",
            f"{human_bytes(needed + RESERVE_BYTES)} are required in {folder}, {human_bytes(free)} are free.",
            "Free some space, or set RSTITCH_HOME to a folder on another disk.",
        )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert an OSError concerning a model file into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageError(
                "Disk full",
                f"{path}: {error.strerror or error}.",
                "Free some space and try again: the download resumes. RSTITCH_HOME moves the folder.",
            ) from None
        raise StorageError("Cannot write model file", f"{path}: {error.strerror or error}.") from None


class PartialFile:
    """An unfinished download and its running SHA-256.

    Args:
        path: the file, which is created if it is missing.
        keep_bytes: bytes of an earlier download to keep; None for all.

    Raises:
        StorageError: the file cannot be opened or read.
    """

    def __init__(self, path: Path, *, keep_bytes: int | None = None) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._read_back(keep_bytes)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing flushes, which can fail on a full disk; an earlier error is more informative.
        if error is None:
            with storage_errors(self.path):
                self._file.close()
        else:
            with suppress(OSError):
                self._file.close()

    def append(self, block: bytes) -> None:
        """Append bytes; raises StorageError."""
        with storage_errors(self.path):
            self._write(block)
        self._digest.update(block)
        self.size += len(block)

    def flush(self) -> None:
        """Flush Python's buffer; raises StorageError."""
        with storage_errors(self.path):
            self._file.flush()

    def start_over(self) -> None:
        """Empty the file; raises StorageError."""
        with storage_errors(self.path):
            self._file.seek(0)
            self._file.truncate()
        self.size = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes so far."""
        return self._digest.hexdigest()

    def _write(self, block: bytes) -> None:
        self._file.write(block)

    def _read_back(self, keep_bytes: int | None) -> None:
        while keep_bytes is None or self.size < keep_bytes:
            block = self._file.read(1 << 22 if keep_bytes is None else min(1 << 22, keep_bytes - self.size))
            if not block:
                break
            self._digest.update(block)
            self.size += len(block)
        self._file.seek(self.size)
        self._file.truncate()


def check_stop(should_stop: ShouldStop) -> None:
    """Raise CancelledError if the download should stop."""
    if should_stop():
        raise CancelledError("Download stopped", "The next download of the file resumes from there.")
