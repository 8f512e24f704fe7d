"""What a user typed into a search field as a query that SQLite understands, and the place where it was found.

Knows words and texts; nothing of chats.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rstitch_local.sanitize import safe_text
from rstitch_tui.store.records import Snippet
from rstitch_tui.store.steps import storable

# The index knows letters in threes; shorter words are looked for in the texts themselves.
_INDEXED = 3
_BEFORE, _AFTER = 30, 90
_SPACES = re.compile(r"\s+")
_WILD = re.compile(r"[%_\\]")


class Query(NamedTuple):
    """A condition on the table `words`, its values, and the words that all have to be in one text."""

    condition: str
    values: list[str]
    words: list[str]


def searchable(text: str) -> str:
    """The text as it goes into the index, which would end at a NUL."""
    return storable(text).replace("\0", " ")


def query(typed: str) -> Query | None:
    """What was typed, as words of which each has to be found, in any order and case; None when there is none.

    No character has a meaning of its own: quotes, `*` or NOT are looked for like any other.
    """
    words = searchable(typed).split()
    if not words:
        return None
    indexed = [word for word in words if len(word) >= _INDEXED]
    conditions = ["words MATCH ?"] if indexed else []
    values = [" ".join('"' + word.replace('"', '""') + '"' for word in indexed)] if indexed else []
    for word in words:
        if len(word) < _INDEXED:
            conditions.append(r"words.text LIKE ? ESCAPE '\'")
            values.append("%" + _WILD.sub(r"\\\g<0>", word) + "%")
    return Query(" AND ".join(conditions), values, words)


def snippet(text: str, words: list[str]) -> Snippet:
    """The place of a text where the first of the words stands, with some of what is around it."""
    lowered = text.lower()
    if len(lowered) != len(text):
        # One Turkish letter becomes two in lower case; places would not be the same any more.
        lowered = text
    places = [(place, len(word)) for word in words if (place := lowered.find(word.lower())) >= 0]
    start, length = min(places, default=(0, 0))
    end = start + length
    before = ("…" if start > _BEFORE else "") + text[max(0, start - _BEFORE) : start]
    after = text[end : end + _AFTER] + ("…" if len(text) > end + _AFTER else "")
    return Snippet(_line(before).lstrip(), _line(text[start:end]), _line(after).rstrip())


def _line(text: str) -> str:
    return safe_text(_SPACES.sub(" ", text))
