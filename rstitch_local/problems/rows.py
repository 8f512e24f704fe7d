"""Rows of problem files: decoding, JSON Lines and JSON arrays; and rows that come from Python.

Independent of what the fields of a row mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rstitch_local.errors import InputError
from rstitch_local.sanitize import human_bytes

Row = dict[str, object]
_Item = TypeVar("_Item")
LONGEST_ROW = 4 << 20
"""In bytes of a line, and in characters of a question. More is refused before it costs time: no context holds it."""
_NO_OBJECT = "it is not a JSON object"


class UnusableRowError(ValueError):
    """A row cannot be used; the text is the reason of a `BadRow`."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why.

    Attributes:
        line: its line in the file, or its position in an array; from 1.
        reason: completes a sentence that begins with the position.
    """

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a problem file.

    Attributes:
        source: the path of the file, for messages.
        name: the name of the file.
        sha256: checksum of the file.
        unit: what `line` counts: "line" of JSON Lines, "row" of an array.
        count: number of lines or rows, empty ones included.
        items: (line, row) in the order of the file; can be iterated once.
    """

    source: str
    name: str
    sha256: str
    unit: str
    count: int
    items: Iterable[tuple[int, Row | BadRow]]


def value_at(row: Mapping[str, object], name: str) -> object:
    """Return the value of a field, None if there is none. A dot leads into an object: `extra.final`.

    A field whose own name has a dot comes first.
    """
    if name in row or "." not in name:
        return row.get(name)
    value: object = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def field_names(row: Mapping[str, object], depth: int = 4) -> Iterator[str]:
    """Yield the names of the fields of a row; those of fields in objects with dots."""
    for name, value in row.items():
        if isinstance(value, dict) and value and depth > 1:
            yield from (f"{name}.{inner}" for inner in field_names(value, depth - 1))
        else:
            yield name


def parse_rows(rows: Rows, parse: Callable[[Row, int], _Item], names: dict[str, None]) -> Iterator[_Item | BadRow]:
    """Yield what each row means.

    Args:
        rows: the rows.
        parse: called with a row and its line; raises UnusableRowError for one that cannot be used.
        names: receives the names of the fields of the rows so far.
    """
    for line, row in rows.items:
        if isinstance(row, BadRow):
            yield row
            continue
        names.update(dict.fromkeys(field_names(row)))
        try:
            yield parse(row, line)
        except UnusableRowError as error:
            yield BadRow(line, str(error))


def read_rows(path: Path) -> Rows:
    """Read JSON Lines (empty lines are skipped) or a JSON array, in UTF-8.

    Raises:
        InputError: no such file, not UTF-8, or an array that is not valid JSON.
    """
    try:
        if path.is_char_device() or path.is_block_device():
            raise InputError("Unreadable problem file", f"{path} is a device.", "Use a regular file.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("Problem file not found", f"There is no file {path}.") from error
    except OSError as error:
        raise InputError("Unreadable problem file", f"{path} cannot be read: {error.strerror}.") from error
    text = _decoded(data, path)
    sha256 = hashlib.sha256(data).hexdigest()
    if text.lstrip().startswith("["):
        array = _array(text, path)
        return Rows(str(path), path.name, sha256, "row", len(array), _array_items(array))
    lines = text.split("\n")  # Not at other line separators: strings in JSON may contain U+2028.
    return Rows(str(path), path.name, sha256, "line", len(lines), _lines(lines))


def rows_from_python(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Convert rows as if they had been read from a JSON array.

    Args:
        rows: values that JSON has a notation for; scalars of numpy and pandas are converted.

    Raises:
        InputError: a value cannot be converted to JSON.
    """
    try:
        text = json.dumps(list(rows), default=_python_scalar, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError("Invalid problems", f"A problem cannot be converted to JSON: {error}.") from error
    name = "list of problems"
    array = json.loads(text)
    items = _array_items(array, "it is not a mapping with a question")
    return Rows(f"the {name}", name, hashlib.sha256(text.encode()).hexdigest(), "row", len(array), items)


def _python_scalar(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not supported")


def _decoded(data: bytes, path: Path) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("Not UTF-8", f"{path} is UTF-16.", "Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder does not count the byte order mark.
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, offset) + 1
        raise InputError(
            "Not UTF-8",
            f"{path} is not valid UTF-8: byte {offset} (0x{data[offset]:02x}), on line {line}.",
            "Save it as UTF-8.",
        ) from error


def _lines(lines: Iterable[str]) -> Iterator[tuple[int, Row | BadRow]]:
    for line, raw in enumerate(lines, start=1):
        if raw and not raw.isspace():
            yield line, _parsed(raw, line)


def _parsed(raw: str, line: int) -> Row | BadRow:
    if len(raw) > LONGEST_ROW:
        return BadRow(line, f"it has {human_bytes(len(raw))}, more than {human_bytes(LONGEST_ROW)}")
    try:
        return _object(json.loads(raw), line)
    except RecursionError:
        return BadRow(line, "it is nested too deeply")
    except json.JSONDecodeError as error:
        what = f"{error.msg} at column {error.colno}"
        if "escape" in error.msg:
            what += r'; a backslash is written twice: "\\frac"'
        return BadRow(line, f"it is not JSON ({what})")
    except ValueError as error:
        return BadRow(line, f"it is not JSON ({error})")


def _array_items(rows: list[object], refusal: str = _NO_OBJECT) -> Iterator[tuple[int, Row | BadRow]]:
    yield from ((position, _object(row, position, refusal)) for position, row in enumerate(rows, start=1))


def _array(text: str, path: Path) -> list[object]:
    try:
        rows = json.loads(text)
    except RecursionError as error:
        raise InputError("Malformed problem file", f"{path} is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            "Malformed problem file",
            f"{path} starts a JSON array but is not valid JSON: "
            f"{error.msg} on line {error.lineno}, column {error.colno}.",
        ) from error
    except ValueError as error:
        raise InputError("Malformed problem file", f"{path} is not valid JSON: {error}.") from error
    assert isinstance(rows, list)
    return rows


def _object(row: object, line: int, refusal: str = _NO_OBJECT) -> Row | BadRow:
    return row if isinstance(row, dict) else BadRow(line, refusal)
