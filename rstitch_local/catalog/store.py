"""The location and the state of the files of a pair on disk.

Independent of networks. Files of the Hub are stored by repository, not by pair, so that two pairs with the same small
model share one copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rstitch_local import paths
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import ModelError, StorageError
from rstitch_local.files import INVALID_RECORD, exists, is_file, read_json, write_json

BUILTIN_DIR = Path(__file__).parents[1] / "builtin"
"""Folder of the models that are part of the package."""
_MAX_RECORD_BYTES = 1 << 16


class FileStatus(StrEnum):
    """Whether a file is on disk, judged by its size."""

    ON_DISK = "on disk"
    PARTIAL = "partial"
    MISSING = "missing"
    WRONG_SIZE = "wrong size"


@dataclass(frozen=True)
class FileState:
    """The state of one file.

    Attributes:
        path: where the file is, or will be after a download.
        size: bytes on disk, including those of an unfinished download.
        expected_size: size of the complete file in bytes; None if unknown.
    """

    file: ModelFile
    path: Path
    status: FileStatus
    size: int
    expected_size: int | None


@dataclass(frozen=True)
class PairState:
    """The states of both files of a pair."""

    slm: FileState
    llm: FileState

    @property
    def ready(self) -> bool:
        """Whether both files are on disk with the right size."""
        return all(file.status is FileStatus.ON_DISK for file in (self.slm, self.llm))


@dataclass(frozen=True)
class PairFiles:
    """The paths of both files of a pair."""

    slm: Path
    llm: Path


@dataclass(frozen=True)
class DownloadRecord:
    """The checksum and size of a file at its first download, which later copies are checked against."""

    sha256: str
    size: int
    revision: str


def path_of(file: ModelFile) -> Path:
    """Return where a file is or will be: the user's path, the package's folder, or the models folder."""
    if file.builtin:
        return BUILTIN_DIR / file.builtin
    local = file.local_path
    if local is not None and (exists(local) or not fetchable(file)):
        return local
    return paths.models_dir() / _folder(file) / file.file


def fetchable(file: ModelFile) -> bool:
    """Return whether a file can be downloaded."""
    return bool(file.repo or file.parts)


def is_managed(file: ModelFile) -> bool:
    """Return whether a file belongs in the models folder, where downloads may write."""
    return path_of(file).is_relative_to(paths.models_dir())


def partial_bytes(path: Path) -> int:
    """Return the size of the largest unfinished download of a file."""
    size = 0
    for partial in partial_files(path):
        with suppress(OSError):
            size = max(size, partial.stat().st_size)
    return size


def partial_files(path: Path) -> list[Path]:
    """Return the files of unfinished downloads of `path`."""
    try:
        return sorted(p for p in path.parent.iterdir() if p.name.startswith(path.name) and p.suffix == ".partial")
    except OSError:
        return []


def file_state(file: ModelFile) -> FileState:
    """Return the state of a file, judged by its size."""
    path = path_of(file)
    expected = expected_size(file)
    try:
        size = path.stat().st_size if is_file(path) else None
    except OSError:
        size = None
    if size is not None:
        right = expected is None or size == expected
        return FileState(file, path, FileStatus.ON_DISK if right else FileStatus.WRONG_SIZE, size, expected)
    partial = partial_bytes(path)
    return FileState(file, path, FileStatus.PARTIAL if partial else FileStatus.MISSING, partial, expected)


def state(entry: PairEntry) -> PairState:
    """Return the states of both files of a pair, judged by their sizes; never raises."""
    return PairState(file_state(entry.slm), file_state(entry.llm))


def locate(entry: PairEntry, *, check_sums: bool = True) -> PairFiles:
    """Return the paths of the files of a pair after checking them.

    Args:
        entry: the pair.
        check_sums: compare checksums as well; they are cached, so a file is read only if it has changed.

    Raises:
        ModelError: a file is missing, incomplete, or has a wrong size or checksum.
    """
    pair = state(entry)
    hint = f"Run `rstitch pull {entry.name}`."
    for file in (pair.slm, pair.llm):
        if file.status is FileStatus.WRONG_SIZE:
            message = f"{file.path} has {file.size} bytes instead of {file.expected_size}."
            raise ModelError("Damaged model file", message, hint)
        if file.status is not FileStatus.ON_DISK:
            if not fetchable(file.file):
                raise ModelError(
                    "Pair not on disk",
                    f"{entry.name} needs {file.path}, which does not exist.",
                    "Correct the path in models.toml.",
                )
            what = "is only partly downloaded" if file.status is FileStatus.PARTIAL else "is not on disk"
            raise ModelError("Pair not on disk", f"{file.file.file} of {entry.name} {what}.", hint)
        if check_sums and not matches(file.file, file.path):
            raise ModelError(
                "Damaged model file",
                f"The SHA-256 of {file.path} is not {expected_sha256(file.file)}.",
                hint if is_managed(file.file) else "Replace the file, or correct its entry in models.toml.",
            )
    return PairFiles(pair.slm.path, pair.llm.path)


def default_pair(catalog: Iterable[PairEntry]) -> PairEntry:
    """Return the first pair of the catalog that is on disk; the last one ships with the program.

    Raises:
        ModelError: no pair is on disk.
    """
    for entry in catalog:
        if state(entry).ready:
            return entry
    raise ModelError(
        "No pair on disk",
        "None of the pairs of the catalog is on disk, not even the demo pair that ships with the program.",
        "Reinstall the program, run `rstitch pull qwen2.5-coder`, or use --slm and --llm.",
    )


def matches(file: ModelFile, path: Path) -> bool:
    """Return whether the file at `path` has the expected checksum, or none is known; raises StorageError."""
    expected = expected_sha256(file)
    if expected is None:
        return True
    try:
        return sha256_of(path) == expected
    except OSError as error:
        raise StorageError("Cannot read model file", f"{path}: {error.strerror or error}.") from None


def expected_size(file: ModelFile) -> int | None:
    """Return the size of a file in bytes from the catalog, else from its first download."""
    if file.size is not None:
        return file.size
    record = download_record(file)
    return record.size if record else None


def expected_sha256(file: ModelFile) -> str | None:
    """Return the SHA-256 of a file from the catalog, else from its first download."""
    if file.sha256 is not None:
        return file.sha256
    record = download_record(file)
    return record.sha256 if record else None


def download_record(file: ModelFile) -> DownloadRecord | None:
    """Return the record of the first download of a file in its revision, or None."""
    path = path_of(file)
    if not is_managed(file):
        return None
    try:
        value = read_json(_record_path(path), _MAX_RECORD_BYTES)
        record = DownloadRecord(str(value["sha256"]), int(value["size"]), str(value["revision"]))
    except (OSError, *INVALID_RECORD):
        return None
    return record if record.revision == file.revision else None


def record_download(file: ModelFile, sha256: str, size: int) -> None:
    """Store the checksum and size of a file that was downloaded; raises StorageError."""
    write_json(_record_path(path_of(file)), {"sha256": sha256, "size": size, "revision": file.revision})


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _folder(file: ModelFile) -> str:
    if file.repo:
        return file.repo.replace("/", "--")
    return f"parts--{file.parts.name}-{file.parts.version}" if file.parts else "local"
