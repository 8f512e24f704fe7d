"""The records that the store returns: chats, entries of the list of chats, messages.

Independent of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rstitch_tui.chat_settings import ChatSettings

Speaker = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation: a tree of messages.

    Attributes:
        id: id of the chat.
        title: one line; empty until the first question.
        settings: the chat's own settings.
        leaf: id of the last message of the branch that is shown; None for an empty chat.
        created: seconds since 1970.
        updated: time of the last message in seconds since 1970; renaming does not change it.
    """

    id: int
    title: str
    settings: ChatSettings
    leaf: int | None
    created: float
    updated: float


class Snippet(NamedTuple):
    """The place of a search hit: the text before it, the match, the text after it; all empty without a search.

    Each is on one line and has no control characters, but may contain characters that are markup to its renderer.
    """

    before: str = ""
    match: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class ChatRow:
    """An entry of the list of chats.

    Attributes:
        messages: number of messages in all branches.
        message: id of the message a search found; None without a search or if the title was found.
    """

    id: int
    title: str
    updated: float
    messages: int
    snippet: Snippet
    message: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A question or an answer.

    Attributes:
        id: id of the message.
        chat_id: id of its chat.
        parent: id of the message before it; None for a first one. Messages with the same parent are siblings.
        role: "user" or "assistant".
        prefix: text the answer was made to start with.
        text: the whole text with the prefix; of an unfinished answer, the text saved so far.
        stop: why the answer ended: "eog", "stop", "length", "interrupted" or "error"; None for an unfinished answer
            and for a user's message.
        error: the error message if stop is "error".
        created: seconds since 1970.
        settings: settings of the answer, as in `Trace.settings`.
        totals: totals of a finished answer, as in `Trace.totals()`; `Store.trace` loads the steps.
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
        """Whether it is an answer that is still being generated, here or by another process."""
        return self.role == "assistant" and self.stop is None

    @property
    def opens_thinking(self) -> bool:
        """Whether the chat template opened the thinking, so that the text contains only its closing tag."""
        return bool(self.settings.get("opens_thinking"))
