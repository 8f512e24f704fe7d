"""What the store hands out: chats, rows of the list of chats, messages.

Knows what a chat consists of; nothing of how it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rstitch_tui.chat_settings import ChatSettings

Speaker = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, which is a tree of messages.

    title: one line; empty until the first question.
    leaf: id of the last message of the branch that is shown; None while there is none.
    created, updated: seconds since 1970; updated when something is said, not when it is renamed.
    """

    id: int
    title: str
    settings: ChatSettings
    leaf: int | None
    created: float
    updated: float


class Snippet(NamedTuple):
    """Where a search found something: the words before it, itself, and those after; all empty without a search.

    Each on one line and free of control characters, but for the markup of whatever draws it.
    """

    before: str = ""
    match: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class ChatRow:
    """A chat as the list of chats shows it; `messages` counts those of all branches."""

    id: int
    title: str
    updated: float
    messages: int
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said.

    parent: id of the message before it; None for a chat's first. Messages with one parent are siblings.
    text: all of it, prefix included; of an answer in the making, what has been saved so far.
    prefix: the text an answer was made to begin with.
    stop: why an answer ended: eog, length, interrupted or error; None while it is written, and of the user's.
    error: what went wrong, as one sentence, where stop is error.
    settings: what an answer was made with, as in `Trace.settings`.
    totals: the sums of a finished answer, as in `Trace.totals()`; the steps are loaded by `Store.trace`.
    """

    id: int
    chat_id: int
    parent: int | None
    role: Speaker
    prefix: str
    text: str
    stop: str | None
    error: str
    created: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, Any] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether it is an answer that is still being written, here or by another app."""
        return self.role == "assistant" and self.stop is None

    @property
    def opens_thinking(self) -> bool:
        """Whether the template had opened the reasoning, so that the text shows only its end."""
        return bool(self.settings.get("opens_thinking"))
