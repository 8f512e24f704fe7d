"""The lines of answers.jsonl: reading, validating and writing them, and repairing the end of the file after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from rstitch_local.errors import InputError
from rstitch_local.files import parse_json, require_file, storage_error
from rstitch_local.problems.lines import LineFile, is_partial

REMOVED_SUFFIX = ".removed"
"""Suffix of the file beside answers.jsonl that receives a last line which is no answer and not from a crash."""

# Required fields of an answer and their types, so that metrics can be computed.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "sample": int, "answer": (str, NoneType), "gold": (str, NoneType), "correct": (bool, NoneType),
    "text": str, "stop": str, "wall_ms": (int, float, NoneType),
}  # fmt: skip
_COUNTS = {"tokens": ("slm", "llm"), "swaps": ("up", "down")}
_KINDS = ("prompt", "catch_up", "decode")

Answer = dict[str, Any]
"""A line of answers.jsonl."""


class OpenedAnswers(NamedTuple):
    """The answers of a file, the file for more of them, and what was said about its repair."""

    rows: list[Answer]
    file: LineFile
    notice: str = ""


def open_answers(path: Path) -> OpenedAnswers:
    """Read answers.jsonl and repair its end.

    What a crash left of a last line is removed. A last line that is no answer and not from a crash is moved into a file
    beside it.

    Raises:
        InputError: a line before the last one is not an answer.
        StorageError: the file cannot be read or repaired.
    """
    require_file(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return OpenedAnswers([], LineFile(path, 0))
    except OSError as error:
        raise storage_error(path, error) from error
    rows: list[Answer] = []
    lines = data.split(b"\n")
    valid_bytes = 0
    for number, line in enumerate(lines, start=1):
        row = parse_answer(line)
        if row is not None:
            rows.append(row)
        elif line.strip():
            if any(later.strip() for later in lines[number:]):
                raise InputError(
                    "Unreadable answers",
                    f"Line {number} of {path} is not an answer.",
                    "Correct or remove that line, or use another folder.",
                )
            notice = _remove_end(path, valid_bytes, data[valid_bytes:])
            return OpenedAnswers(rows, LineFile(path, valid_bytes), notice)
        valid_bytes += len(line) + 1
    if lines[-1].strip():
        # The answer is complete, only its line end is missing.
        _append(path, b"\n")
        return OpenedAnswers(rows, LineFile(path, len(data) + 1))
    return OpenedAnswers(rows, LineFile(path, len(data)))


def _remove_end(path: Path, size_bytes: int, end: bytes) -> str:
    notice = ""
    if not is_partial(end) or end.strip(b"\0").endswith(b"\n"):
        removed = path.with_name(path.name + REMOVED_SUFFIX)
        _append(removed, end if end.endswith(b"\n") else end + b"\n")
        notice = f"The last line of {path} is not an answer; it was moved into {removed.name}."
    try:
        os.truncate(path, size_bytes)
    except OSError as error:
        raise storage_error(path, error) from error
    return notice


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise storage_error(path, error) from error


def line_of(record: Mapping[str, Any], separators: tuple[str, str] | None = None) -> bytes:
    """Return a record as one line of JSON."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=separators)
    return text.encode("utf-8", "replace") + b"\n"


def parse_answer(line: bytes) -> Answer | None:
    """Return the answer of a line; None if it is not one."""
    try:
        # NaN and infinities are not JSON, though Python reads them.
        row = parse_json(line, parse_constant=lambda _: None)
    except ValueError:
        return None
    if not isinstance(row, dict) or not row.keys() >= _TYPES.keys():
        return None
    if not all(isinstance(row[name], kind) for name, kind in _TYPES.items()):
        return None
    evaluated = row.get("evaluated")
    valid = (
        all(_are_counts(row.get(name), keys) for name, keys in _COUNTS.items())
        and isinstance(evaluated, dict)
        and all(_are_counts(evaluated.get(role), _KINDS) for role in ("slm", "llm"))
    )
    return row if valid else None


def _are_counts(value: object, keys: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), int) for key in keys)
