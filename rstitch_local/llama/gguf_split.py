"""Split models: the names of their files, and what users do with them (a later file given, joined, renamed).

llama.cpp finds the other files by the name of the first one, `NAME-00001-of-00003.gguf`.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from rstitch_local.errors import ModelError
from rstitch_local.llama.gguf_header import Header

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
# Pieces of one file by `split`, which no program reads before they are joined.
_PIECE = re.compile(
    r"(.+?\.gguf)?[-._](?:split|part)[-._]?(?:[a-z]{1,2}|\d+(?:[-_]?of[-_]?\d+)?)(?:\.gguf)?|.+\.gguf\.\d+", re.I
)
_MOST_PADDING = 4096


def parts_of(path: Path) -> list[Path]:
    """Return the files of a model: `path`, and if that is the first file of a split model, the others that exist."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[2]) != 1:
        return [path]
    others = (path.with_name(_name(match[1], number, int(match[3]))) for number in range(2, int(match[3]) + 1))
    return [path, *filter(Path.is_file, others)]


def split_count(header: Header) -> int:
    """Return how many files a model is split into; 1 if it is not."""
    return max(1, header.integer("split.count", 1))


def piece_hint(path: Path) -> str:
    """Return what to do with a file whose name is that of a piece cut by `split`; empty for other names."""
    if _NAME.fullmatch(path.name) or not _PIECE.fullmatch(path.name):
        return ""
    return "Its name is that of a piece of a file: join all pieces in their order, for example with `cat`."


def require_first_part(path: Path, header: Header, data: mmap.mmap) -> None:
    """Refuse a file of a split model unless it is the first one and the others are beside it.

    Raises:
        ModelError: it is a later file, its name is not that of a first file, or another file is missing.
    """
    count, number = split_count(header), header.integer("split.no", 0)
    match = _NAME.fullmatch(path.name)
    stem = match[1] if match else path.name.removesuffix(".gguf")
    if count == 1:
        return
    names = f"{_name(stem, 1, count)} to {_name(stem, count, count)}"
    if number > 0:
        first = _name(stem, 1, count)
        message = f"{path} is file {number + 1} of {count} of a split model"
        if match and path.with_name(first).is_file():
            raise ModelError("Not the first file", f"{message}.", f"Give the first one: {path.with_name(first)}")
        raise ModelError(
            "Not the first file",
            f"{message}, and the first one is not beside it{f': {first}' if match else ' under a name like it'}.",
            f"Keep all files in one folder, named {names}, and give the first one.",
        )
    if _has_second_file(header, data):
        raise ModelError(
            "Joined model files",
            f"{path} is the {count} files of a split model one after the other; llama.cpp reads the first one only.",
            f"Keep them apart, named {names}, or join them with llama-gguf-split.",
        )
    if match is None or int(match[2]) != 1 or int(match[3]) != count:
        raise ModelError(
            "Renamed model file",
            f"{path} is the first of {count} files of a split model, and llama.cpp finds the others by its name.",
            f"Name the files {names}, in one folder.",
        )
    for other in range(2, count + 1):
        beside = path.with_name(_name(match[1], other, count))
        if not beside.is_file():
            raise ModelError("Missing model file", f"{path.name} needs {beside}, which does not exist.")


def require_part(path: Path, header: Header, number: int, count: int) -> None:
    """Refuse a file that is not the given part of a split model of `count` files; `number` from 1.

    Raises:
        ModelError: it is another part, or of another model.
    """
    actual, of = header.integer("split.no", 0) + 1, split_count(header)
    if (actual, of) != (number, count):
        what = f"file {actual} of {of}" if of > 1 else "no file of a split model"
        raise ModelError(
            "Renamed model file", f"{path} is {what}, not file {number} of {count}.", "Give the files their own names."
        )


def _name(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05d}-of-{count:05d}.gguf"


def _has_second_file(header: Header, data: mmap.mmap) -> bool:
    return header.end is not None and data.find(b"GGUF", header.end, header.end + _MOST_PADDING) >= 0
