"""What every source of a file needs: appending to a partial file, its running sum, free space, stopping.

Knows nothing of where the bytes come from.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from rstitch_local.errors import CancelledError, DownloadError, StorageError
from rstitch_local.sanitize import human_bytes

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there are and the bytes there will be (None when not known)."""
Stop = Callable[[], bool]
"""LoadedAnswer at between blocks: True ends the download, keeping what is there."""

RESERVE_BYTES = 64 << 20
"""Left free on a disk that is downloaded to."""


class SourceError(DownloadError):
    """One source could not give a file; another one may."""


def require_space(folder: Path, needed: int) -> None:
    """Raise StorageError unless `needed` bytes, and a reserve, are free where `folder` lies."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # A file system that cannot say: the write itself will.
    if free < needed + RESERVE_BYTES:
        raise StorageError(
            "Disk full",
            f"{human_bytes(needed + RESERVE_BYTES)} are needed in {folder}, {human_bytes(free)} are free.",
            "Free some space, or set RSTITCH_HOME to a folder on another disk.",
        )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the file system says about `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                "Disk full",
                f"No space is left for {path}.",
                "Free some space and pull again: what is there is kept. RSTITCH_HOME moves the folder.",
            ) from None
        raise StorageError("Cannot write a model file", f"{path}: {error.strerror or error}.") from None


class PartialFile:
    """A file that grows by appending, with the sha256 of all it holds.

    Opening it reads what an earlier download left, up to `keep` bytes, and cuts off the rest.
    """

    def __init__(self, path: Path, *, keep: int | None = None) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._read_back(keep)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing flushes, so a full disk may speak up only here; an error already on its way says more.
        if error is None:
            with storage_errors(self.path):
                self._file.close()
        else:
            with suppress(OSError):
                self._file.close()

    def append(self, block: bytes) -> None:
        """Add bytes at the end. Raises StorageError."""
        with storage_errors(self.path):
            self._write(block)
        self._digest.update(block)
        self.size += len(block)

    def flush(self) -> None:
        """Hand everything to the system. Raises StorageError."""
        with storage_errors(self.path):
            self._file.flush()

    def start_over(self) -> None:
        """Empty the file. Raises StorageError."""
        with storage_errors(self.path):
            self._file.seek(0)
            self._file.truncate()
        self.size = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The sum of all bytes so far."""
        return self._digest.hexdigest()

    def _write(self, block: bytes) -> None:
        self._file.write(block)

    def _read_back(self, keep: int | None) -> None:
        while keep is None or self.size < keep:
            block = self._file.read(1 << 22 if keep is None else min(1 << 22, keep - self.size))
            if not block:
                break
            self._digest.update(block)
            self.size += len(block)
        self._file.seek(self.size)
        self._file.truncate()


def check_stop(stop: Stop) -> None:
    """Raise CancelledError when somebody asked to stop."""
    if stop():
        raise CancelledError("Stopped", "The download was stopped; what is there is kept.")
