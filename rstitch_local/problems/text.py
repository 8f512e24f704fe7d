"""Text of strangers, made fit for a terminal line.

Knows only characters: which of them could move a cursor or colour a screen, and how long a line should be.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_SHOWN_LENGTH = 80


def one_line(text: str, length: int = _SHOWN_LENGTH) -> str:
    """The text on one line of at most `length` characters, without control characters."""
    # Categories C* are controls, format marks (bidi overrides among them), surrogates and unassigned.
    clean = "".join(
        " " if character in "\n\r\t" else character
        for character in text[: 4 * length]
        if character in "\n\r\t" or not unicodedata.category(character).startswith("C")
    )
    clean = " ".join(clean.split())
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def shown_list(items: Iterable[str], most: int = 12) -> str:
    """The first items, comma-separated, and how many more there are."""
    names = [one_line(item, 40) for item in items]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
