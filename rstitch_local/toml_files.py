"""Reading the user's TOML files: models.toml, tuned.toml and settings.toml.

Independent of their keys. What TOML or Python's reader leave open is limited here: the size of a file, the parts of a
key, and the size of an integer.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rstitch_local.errors import UsageError
from rstitch_local.files import read_regular
from rstitch_local.sanitize import one_line, shortened

MAX_BYTES = 1 << 18
# The time and memory of Python's reader grow with the square of this number.
_MAX_KEY_PARTS = 32
# The largest integer that TOML requires a reader to know; converting a much larger one to text is an error in Python.
_INTEGERS = range(-(1 << 63), 1 << 63)
_STRING_OR_COMMENT = re.compile(
    r"""\"\"\"(?:\\.|[^\\])*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*""", re.DOTALL
)


class TomlFile(NamedTuple):
    """The text of a TOML file, and its tables."""

    text: str
    tables: dict[str, Any]


def read_toml(path: Path, title: str) -> TomlFile | None:
    """Read a TOML file in UTF-8; line ends become single line feeds.

    Args:
        path: the file.
        title: title of an error, such as "Cannot read models.toml".

    Returns:
        The file, or None if there is none.

    Raises:
        UsageError: the file cannot be read, is too large, or is not valid TOML.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(title, f"{path}: {error.strerror or error}.") from None
    try:
        # Decoded without a byte order mark.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}, line {line}: not UTF-8 text."
        raise UsageError(title, message, "Save the file as UTF-8.") from None
    try:
        return TomlFile(text, _parsed(text))
    except (ValueError, RecursionError) as error:
        reason = (
            "it is nested too deeply" if isinstance(error, RecursionError) else shortened(one_line(error, 400), 200)
        )
        raise UsageError(title, f"{path}: {reason}.", "Correct the TOML syntax.") from None


def _parsed(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text; raises ValueError, or RecursionError for deep nesting."""
    # Outside of strings and comments a dot separates the parts of a key, or is the point of a number.
    for number, line in enumerate(_STRING_OR_COMMENT.sub(_line_ends, text).split("\n"), start=1):
        if line.count(".") >= _MAX_KEY_PARTS:
            raise ValueError(f"line {number} has a key with more than {_MAX_KEY_PARTS} parts")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError("a number has too many digits") from None
    for key, value in _values(tables):
        if isinstance(value, int) and value not in _INTEGERS:
            raise ValueError(f"{one_line(key)} is an integer of more than 64 bits")
    return tables


def _line_ends(match: re.Match[str]) -> str:
    return '""' + "\n" * match[0].count("\n")


def _values(tables: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield all values that are neither tables nor arrays, each with the last part of its key."""
    waiting: list[tuple[str, object]] = list(tables.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        else:
            yield key, value
