"""Where the files of a pair lie on this disk, and whether they are whole.

Knows nothing of networks. Files that came from the Hub lie by repository, not by pair, so that two pairs with
the same small model share one copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rstitch_local import paths
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import ModelError, StorageError
from rstitch_local.files import write_json

BUILTIN_DIR = Path(__file__).parents[1] / "builtin"
"""The models that ship inside the package."""


class FileStatus(StrEnum):
    """What there is of a file."""

    ON_DISK = "on disk"
    PARTIAL = "partial"
    MISSING = "missing"
    WRONG_SIZE = "wrong size"


@dataclass(frozen=True)
class FileState:
    """What there is of one file.

    Attributes:
        path: where it lies, or will.
        size: bytes on this disk, those of an unfinished download included.
        wanted: bytes of the whole file, when known.
    """

    file: ModelFile
    path: Path
    status: FileStatus
    size: int
    wanted: int | None


@dataclass(frozen=True)
class PairState:
    """What there is of both files of a pair."""

    slm: FileState
    llm: FileState

    @property
    def ready(self) -> bool:
        """Whether both files are whole, as far as their size tells."""
        return all(file.status is FileStatus.ON_DISK for file in (self.slm, self.llm))


@dataclass(frozen=True)
class PairFiles:
    """The two files of a pair, both there."""

    slm: Path
    llm: Path


@dataclass(frozen=True)
class Learned:
    """What the first download of a file taught: the bytes that were right then are right from now on."""

    sha256: str
    size: int
    revision: str


def path_of(file: ModelFile) -> Path:
    """Where a file lies, or will: the user's own path, the package's folder, or the store."""
    if file.builtin:
        return BUILTIN_DIR / file.builtin
    local = file.local_path
    if local is not None and (local.exists() or not fetchable(file)):
        return local
    return paths.models_dir() / _folder(file) / file.file


def fetchable(file: ModelFile) -> bool:
    """Whether the file can be downloaded at all."""
    return bool(file.repo or file.parts)


def is_ours(file: ModelFile) -> bool:
    """Whether the file lies in the store, where downloads may write."""
    return path_of(file).is_relative_to(paths.models_dir())


def partial_bytes(path: Path) -> int:
    """Bytes that unfinished downloads of a file have left beside it."""
    total = 0
    for rest in leftovers(path):
        try:
            total = max(total, rest.stat().st_size)
        except OSError:
            continue
    return total


def leftovers(path: Path) -> list[Path]:
    """The files of unfinished downloads beside `path`."""
    try:
        return sorted(p for p in path.parent.iterdir() if p.name.startswith(path.name) and p.suffix == ".partial")
    except OSError:
        return []


def file_state(file: ModelFile) -> FileState:
    """What there is of one file, by its size alone."""
    path = path_of(file)
    wanted = expected_size(file)
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:
        size = None
    if size is not None:
        right = wanted is None or size == wanted
        return FileState(file, path, FileStatus.ON_DISK if right else FileStatus.WRONG_SIZE, size, wanted)
    partial = partial_bytes(path)
    return FileState(file, path, FileStatus.PARTIAL if partial else FileStatus.MISSING, partial, wanted)


def state(entry: PairEntry) -> PairState:
    """What there is of both files of a pair, by their sizes alone; fast, and never an error."""
    return PairState(file_state(entry.slm), file_state(entry.llm))


def locate(entry: PairEntry, *, check_sums: bool = True) -> PairFiles:
    """The two files of a pair, ready to be loaded.

    Args:
        entry: the pair.
        check_sums: compare sha256 sums too; they are remembered, so a file is read only when it has changed.

    Raises:
        ModelError: a file is missing, unfinished, of the wrong size or, with `check_sums`, of the wrong sum.
    """
    found = state(entry)
    hint = f"`rstitch pull {entry.name}` brings what is missing."
    for file in (found.slm, found.llm):
        if file.status is FileStatus.WRONG_SIZE:
            raise ModelError("Damaged model file", f"{file.path} has {file.size} bytes instead of {file.wanted}.", hint)
        if file.status is not FileStatus.ON_DISK:
            if not fetchable(file.file):
                raise ModelError(
                    "Pair not on disk",
                    f"{entry.name} needs {file.path}, which is not there.",
                    "Check its path.",
                )
            what = "is only partly downloaded" if file.status is FileStatus.PARTIAL else "is not on this disk"
            raise ModelError("Pair not on disk", f"{file.file.file} of {entry.name} {what}.", hint)
        if check_sums and not matches(file.file, file.path):
            raise ModelError(
                "Damaged model file",
                f"{file.path} does not have the sha256 it should have: {expected_sha256(file.file)}.",
                hint if is_ours(file.file) else "Replace the file, or change its entry in models.toml.",
            )
    return PairFiles(found.slm.path, found.llm.path)


def default_pair(catalogue: Iterable[PairEntry]) -> PairEntry:
    """The first pair of the catalogue that is on this disk: the one that ships with the program, if no other is.

    Raises:
        ModelError: none is, not even that one.
    """
    for entry in catalogue:
        if state(entry).ready:
            return entry
    raise ModelError(
        "No pair on disk",
        "None of the pairs in the catalogue is on this disk, not even the one that ships with the program.",
        "Install the program again; or `rstitch pull qwen2.5-coder`, or give --slm and --llm.",
    )


def matches(file: ModelFile, path: Path) -> bool:
    """Whether the bytes at `path` have the right sum; True when no sum is known. Raises StorageError."""
    wanted = expected_sha256(file)
    if wanted is None:
        return True
    try:
        return sha256_of(path) == wanted
    except OSError as error:
        raise StorageError("Cannot read a model file", f"{path}: {error.strerror or error}.") from None


def expected_size(file: ModelFile) -> int | None:
    """The size in bytes from the catalogue, or else from the first download."""
    if file.size is not None:
        return file.size
    learned = learned_of(file)
    return learned.size if learned else None


def expected_sha256(file: ModelFile) -> str | None:
    """The sha256 from the catalogue, or else from the first download."""
    if file.sha256 is not None:
        return file.sha256
    learned = learned_of(file)
    return learned.sha256 if learned else None


def learned_of(file: ModelFile) -> Learned | None:
    """What the first download of this very file (revision included) recorded, or None."""
    path = path_of(file)
    if not is_ours(file):
        return None
    try:
        value = json.loads(_record(path).read_text(encoding="utf-8"))
        learned = Learned(str(value["sha256"]), int(value["size"]), str(value["revision"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return learned if learned.revision == file.revision else None


def record(file: ModelFile, sha256: str, size: int) -> None:
    """Keep the sum and size of a file that has just been downloaded. Raises StorageError."""
    write_json(_record(path_of(file)), {"sha256": sha256, "size": size, "revision": file.revision})


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _folder(file: ModelFile) -> str:
    if file.repo:
        return file.repo.replace("/", "--")
    return f"parts--{file.parts.name}-{file.parts.version}" if file.parts else "local"
