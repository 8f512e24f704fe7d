"""The chats in one database: made, listed, searched, renamed, deleted and brought back.

Knows chats as rows, and by its bases their messages and answers; nothing of widgets, models or threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import search as searching
from rstitch_tui.store.answers import Answers
from rstitch_tui.store.database import Database
from rstitch_tui.store.messages import as_object, gone, index
from rstitch_tui.store.records import Chat, ChatRow, Snippet
from rstitch_tui.store.steps import storable, to_json

_TITLE_LENGTH = 200
_DAY_S = 86_400.0
# 4 MB, at 0.1 ms a page.
_MERGED_PAGES = 1000

_COLUMNS = "id, title, updated, (SELECT count(*) FROM messages WHERE chat = chats.id) AS messages"
_NEWEST = "deleted IS NULL ORDER BY updated DESC, id DESC LIMIT ?"


class Store(Answers):
    """All chats. One thread uses a Store; another thread or app opens its own on the same file.

    Args:
        path: the database; made when it is not there, brought up to date when it is older.
        wait_ms: how long to wait for another app's write to end.
        clock: seconds since 1970.

    Raises:
        StorageError: the database cannot be used, here as in every method.
    """

    def __init__(self, path: Path, *, wait_ms: int = 2000, clock: Callable[[], float] = time.time) -> None:
        super().__init__(Database(path, wait_ms=wait_ms), clock)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def new_chat(self, settings: ChatSettings, title: str = "") -> Chat:
        """A chat without messages; without a title it gets that of its first question."""
        now = self._clock()
        title = one_line(title, _TITLE_LENGTH)
        with self._database.write() as db:
            identifier = db.execute(
                "INSERT INTO chats (title, settings, created, updated) VALUES (?, ?, ?, ?)",
                (title, _settings_text(settings), now, now),
            ).lastrowid
            assert identifier is not None
            index(db, -identifier, identifier, title)
        return self.chat(identifier)

    def chats(self, search: str = "", limit: int = 500) -> list[ChatRow]:
        """The chats, those updated last first.

        Args:
            search: words that have to be in one message or in the title, in any order and case, parts of words
                too; blank for all chats. An answer is found once it is finished.
            limit: how many at most.
        """
        query = searching.query(search)
        if query is None:
            rows = self._database.rows(f"SELECT {_COLUMNS} FROM chats WHERE {_NEWEST}", (limit,))
            return [ChatRow(row["id"], row["title"], row["updated"], row["messages"], Snippet()) for row in rows]
        # The newest message that has the words stands for its chat, the title only where no message has them.
        hits = f"SELECT chat, max(rowid) AS hit FROM words WHERE {query.condition} GROUP BY chat"
        found = f"SELECT {_COLUMNS}, hit FROM chats JOIN ({hits}) ON chat = id WHERE {_NEWEST}"
        rows = self._database.rows(
            f"SELECT found.*, text FROM ({found}) AS found JOIN words ON words.rowid = hit"
            " ORDER BY updated DESC, id DESC",
            (*query.values, limit),
        )
        return [
            ChatRow(
                row["id"],
                row["title"],
                row["updated"],
                row["messages"],
                searching.snippet(row["text"], query.words),
            )
            for row in rows
        ]

    def chat(self, chat_id: int) -> Chat:
        """One chat; StorageError when there is none of that id, or it was deleted."""
        row = self._database.row("SELECT * FROM chats WHERE id = ? AND deleted IS NULL", (chat_id,))
        if row is None:
            raise gone("chat", chat_id)
        settings = _settings(row["settings"])
        return Chat(row["id"], row["title"], settings, row["leaf"], row["created"], row["updated"])

    def rename(self, chat_id: int, title: str) -> None:
        """Give a chat another title; it keeps its place in the list."""
        title = one_line(title, _TITLE_LENGTH)
        self._change(chat_id, "title", title)

    def set_settings(self, chat_id: int, settings: ChatSettings) -> None:
        """Change what a chat is run with, from its next answer on."""
        self._change(chat_id, "settings", _settings_text(settings))

    def delete(self, chat_id: int) -> None:
        """Put a chat out of sight; `restore` brings it back until `purge` removes it for good."""
        self._change(chat_id, "deleted", self._clock())

    def restore(self, chat_id: int) -> None:
        """Bring a deleted chat back, as it was."""
        self._change(chat_id, "deleted", None)

    def purge(self, older_than_s: float = _DAY_S) -> int:
        """Remove for good the chats that were deleted so long ago; returns how many.

        To be called once at the start, so that whatever was deleted can be undone for a day at least.
        """
        before = self._clock() - older_than_s
        with self._database.write() as db:
            removed = db.execute("DELETE FROM chats WHERE deleted <= ?", (before,)).rowcount
            # The index only notes what is gone, until its parts are merged: begun here, and gone on with next time.
            pages = -_MERGED_PAGES if removed else _MERGED_PAGES // 10
            db.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
        self._database.shrink()
        return removed

    def get_state(self, key: str) -> str | None:
        """A small thing the app remembers, such as its theme; None where there is nothing under this key."""
        row = self._database.row("SELECT value FROM state WHERE key = ?", (key,))
        return None if row is None else row["value"]

    def set_state(self, key: str, value: str) -> None:
        """Remember a small thing."""
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, storable(value)))

    def _change(self, chat_id: int, column: str, value: object) -> None:
        with self._database.write() as db:
            if not db.execute(f"UPDATE chats SET {column} = ? WHERE id = ?", (value, chat_id)).rowcount:
                raise gone("chat", chat_id)
            if column == "title":
                index(db, -chat_id, chat_id, str(value))


def _settings_text(settings: ChatSettings) -> str:
    return to_json(settings.model_dump(mode="json"))


def _settings(text: str) -> ChatSettings:
    """A chat's settings; values that mean nothing to this version are left out, so that the chat can be opened."""
    values = as_object(text)
    known = {name: value for name, value in values.items() if _valid({name: value})}
    return ChatSettings(**known)


def _valid(values: dict[str, Any]) -> bool:
    try:
        ChatSettings(**values)
    except (ValidationError, RStitchError):
        return False
    return True
