"""Full-text queries from the words typed by a user, and snippets of the texts found.

Independent of chats.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rstitch_local.sanitize import safe_text
from rstitch_tui.store.records import Snippet
from rstitch_tui.store.steps import encodable

# The index consists of trigrams; shorter words are searched in the texts themselves.
_INDEXED_LENGTH = 3
_CHARACTERS_BEFORE, _CHARACTERS_AFTER = 30, 90
_SPACES = re.compile(r"\s+")
_WILDCARDS = re.compile(r"[%_\\]")


class Query(NamedTuple):
    """A condition on the table `words`, its values, and the words that a text must all contain."""

    condition: str
    values: list[str]
    words: list[str]


def searchable(text: str) -> str:
    """Return a text for the index, which would end at a NUL."""
    return encodable(text).replace("\0", " ")


def query(typed: str) -> Query | None:
    """Return a query for all typed words in any order and case; None if nothing was typed.

    There are no operators: quotes, `*` and NOT are searched like other text.
    """
    words = searchable(typed).split()
    if not words:
        return None
    indexed = [word for word in words if len(word) >= _INDEXED_LENGTH]
    conditions = ["words MATCH ?"] if indexed else []
    values = [" ".join('"' + word.replace('"', '""') + '"' for word in indexed)] if indexed else []
    for word in words:
        if len(word) < _INDEXED_LENGTH:
            conditions.append(r"words.text LIKE ? ESCAPE '\'")
            values.append("%" + _WILDCARDS.sub(r"\\\g<0>", word) + "%")
    return Query(" AND ".join(conditions), values, words)


def snippet(text: str, words: list[str]) -> Snippet:
    """Return the first place in a text where one of the words occurs, with the text around it."""
    lowered = text.lower()
    if len(lowered) != len(text):
        # In lower case one Turkish letter becomes two, which would shift the indices.
        lowered = text
    matches = [(index, len(word)) for word in words if (index := lowered.find(word.lower())) >= 0]
    start, length = min(matches, default=(0, 0))
    end = start + length
    before = ("…" if start > _CHARACTERS_BEFORE else "") + text[max(0, start - _CHARACTERS_BEFORE) : start]
    after = text[end : end + _CHARACTERS_AFTER] + ("…" if len(text) > end + _CHARACTERS_AFTER else "")
    return Snippet(_line(before).lstrip(), _line(text[start:end]), _line(after).rstrip())


def _line(text: str) -> str:
    return safe_text(_SPACES.sub(" ", text))
