"""Values of columns as the types that the chat expects: SQLite stores any value in any column.

A chat whose database was damaged or edited can still be read and exported.
"""

from __future__ import annotations

import math
from typing import Any

from rstitch_local.files import parse_json

# The end of the year 9000: the calendar of Python ends with 9999, in any time zone.
_LATEST_S = 221_845_392_000.0
_LARGEST_INTEGER = 2**63


def text_of(value: object) -> str:
    """Return a text; bytes are decoded with replacement of invalid ones, nothing is ""."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def time_of(value: object) -> float:
    """Return seconds since 1970 that a calendar can show; 0 for any other value."""
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value < _LATEST_S:
        return float(value)
    return 0.0


def integer_of(value: object, default: int = 0) -> int:
    """Return an integer that SQLite can store, or the default."""
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) < _LARGEST_INTEGER:
        return int(value)
    return default


def json_object(value: object) -> dict[str, Any]:
    """Parse a JSON object; return an empty one if it is damaged, so that the rest of the chat can be read."""
    try:
        parsed = parse_json(text_of(value) or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
