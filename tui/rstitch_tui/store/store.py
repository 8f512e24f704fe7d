"""The store of all chats: creating, listing, searching, renaming, deleting and restoring them.

Independent of widgets, models and threads. Messages and answers are in the base classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Row
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store import search as searching
from rstitch_tui.store.answers import Answers
from rstitch_tui.store.database import Database
from rstitch_tui.store.messages import index_text, not_found
from rstitch_tui.store.records import Chat, ChatRow, Snippet
from rstitch_tui.store.steps import encodable, to_json
from rstitch_tui.store.values import integer_of, json_object, text_of, time_of

_TITLE_LENGTH = 200
_DAY_S = 86_400.0
# 4 MB; merging takes 0.1 ms per page.
_MERGED_PAGES = 1000

_COLUMNS = "id, title, updated, (SELECT count(*) FROM messages WHERE chat = chats.id) AS messages"
_NEWEST = "deleted IS NULL ORDER BY updated DESC, id DESC LIMIT ?"


class Store(Answers):
    """All chats. Use a Store in one thread only; other threads and processes open their own on the same file.

    Every method may raise StorageError.

    Args:
        path: the database; created if missing, migrated if old.
        wait_ms: how long to wait for a write of another process.
        clock: returns seconds since 1970.

    Raises:
        StorageError: the database cannot be opened.
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
        self._database.close()

    def new_chat(self, settings: ChatSettings, title: str = "") -> Chat:
        """Create an empty chat; without a title it will be named after its first question."""
        now = self._clock()
        title = one_line(title, _TITLE_LENGTH)
        with self._database.write() as db:
            chat_id = db.execute(
                "INSERT INTO chats (title, settings, created, updated) VALUES (?, ?, ?, ?)",
                (title, _settings_text(settings), now, now),
            ).lastrowid
            assert chat_id is not None
            index_text(db, -chat_id, chat_id, title)
        return self.chat(chat_id)

    def chats(self, search: str = "", limit: int = 500) -> list[ChatRow]:
        """Return the chats, the last updated first.

        Args:
            search: words or parts of words that one message or the title must contain, in any order and case; blank
                for all chats. Unfinished answers are not searched.
            limit: maximum number of chats.
        """
        query = searching.query(search)
        if query is None:
            rows = self._database.rows(f"SELECT {_COLUMNS} FROM chats WHERE {_NEWEST}", (limit,))
            return [_entry(row, Snippet()) for row in rows]
        # Show the newest matching message of a chat; its title, which has a negative rowid, only if no message matches.
        hits = f"SELECT chat, max(rowid) AS hit FROM words WHERE {query.condition} GROUP BY chat"
        matches = f"SELECT {_COLUMNS}, hit FROM chats JOIN ({hits}) ON chat = id WHERE {_NEWEST}"
        rows = self._database.rows(
            f"SELECT matches.*, text FROM ({matches}) AS matches JOIN words ON words.rowid = hit"
            " ORDER BY updated DESC, id DESC",
            (*query.values, limit),
        )
        return [
            _entry(row, searching.snippet(text_of(row["text"]), query.words), row["hit"] if row["hit"] > 0 else None)
            for row in rows
        ]

    def chat(self, chat_id: int) -> Chat:
        """Return one chat; raise StorageError if it does not exist or was deleted."""
        row = self._database.row("SELECT * FROM chats WHERE id = ? AND deleted IS NULL", (chat_id,))
        if row is None:
            raise not_found("chat", chat_id)
        settings = _settings(row["settings"])
        leaf = None if row["leaf"] is None else integer_of(row["leaf"])
        title, created, updated = text_of(row["title"]), time_of(row["created"]), time_of(row["updated"])
        return Chat(row["id"], title, settings, leaf, created, updated)

    def rename(self, chat_id: int, title: str) -> None:
        """Change the title of a chat, but not its position in the list."""
        title = one_line(title, _TITLE_LENGTH)
        self._change(chat_id, "title", title)

    def set_settings(self, chat_id: int, settings: ChatSettings) -> None:
        """Change the settings of a chat's next answers."""
        self._change(chat_id, "settings", _settings_text(settings))

    def delete(self, chat_id: int) -> None:
        """Mark a chat as deleted; `restore` undoes it until `purge` removes the chat."""
        self._change(chat_id, "deleted", self._clock())

    def restore(self, chat_id: int) -> None:
        self._change(chat_id, "deleted", None)

    def purge(self, older_than_s: float = _DAY_S) -> int:
        """Remove the chats that were deleted that long ago, and return their number.

        Call it once at the start of the app: a deleted chat can then be restored for at least a day.
        """
        before = self._clock() - older_than_s
        with self._database.write() as db:
            removed = db.execute("DELETE FROM chats WHERE deleted <= ?", (before,)).rowcount
            # The full-text index keeps deleted rows until its segments are merged: some now, some at the next call.
            pages = -_MERGED_PAGES if removed else _MERGED_PAGES // 10
            db.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
        self._database.shrink()
        return removed

    def get_state(self, key: str) -> str | None:
        """Return a value that the app stored, such as the id of the open chat; None if there is none."""
        row = self._database.row("SELECT value FROM state WHERE key = ?", (key,))
        return None if row is None else text_of(row["value"])

    def set_state(self, key: str, value: str) -> None:
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, encodable(value)))

    def _change(self, chat_id: int, column: str, value: object) -> None:
        with self._database.write() as db:
            if not db.execute(f"UPDATE chats SET {column} = ? WHERE id = ?", (value, chat_id)).rowcount:
                raise not_found("chat", chat_id)
            if column == "title":
                index_text(db, -chat_id, chat_id, str(value))


def _entry(row: Row, snippet: Snippet, message: int | None = None) -> ChatRow:
    return ChatRow(row["id"], text_of(row["title"]), time_of(row["updated"]), row["messages"], snippet, message)


def _settings_text(settings: ChatSettings) -> str:
    return to_json(settings.model_dump(mode="json"))


def _settings(text: object) -> ChatSettings:
    """Parse a chat's settings without the values that this version does not accept, so that the chat opens."""
    values = json_object(text)
    known = {name: value for name, value in values.items() if _valid({name: value})}
    return ChatSettings(**known)


def _valid(values: dict[str, Any]) -> bool:
    try:
        ChatSettings(**values)
    except (ValidationError, RStitchError):
        return False
    return True
