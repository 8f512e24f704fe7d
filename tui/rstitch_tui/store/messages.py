"""The messages of all chats: a tree each, of which one branch is shown.

Knows messages, branches and records of answers as rows; nothing of how an answer comes into being.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby, islice
from sqlite3 import Connection, Row
from typing import Any

from rstitch_local.errors import StorageError
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace
from rstitch_tui.store.database import Database
from rstitch_tui.store.records import Message, Speaker
from rstitch_tui.store.search import searchable
from rstitch_tui.store.steps import storable, trace_of_steps, unpack

_TITLE_LENGTH = 60
# A message's parent is always older than itself, so the order of ids is the order of a branch.
_UP = """
    WITH RECURSIVE up (id, parent) AS (
        SELECT messages.id, parent FROM messages JOIN chats ON chats.leaf = messages.id WHERE chats.id = ?
        UNION ALL SELECT messages.id, messages.parent FROM messages JOIN up ON messages.id = up.parent
    )
    SELECT messages.* FROM messages JOIN up USING (id) ORDER BY id
"""
_DOWN = """
    WITH RECURSIVE down (id) AS (
        VALUES (?) UNION ALL SELECT messages.id FROM messages JOIN down ON messages.parent = down.id
    )
    SELECT max(id) FROM down
"""


class Messages:
    """What a Store can do with messages; see there."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add_user(self, chat_id: int, parent: int | None, text: str) -> Message:
        """Put a question after `parent` (None: at the beginning) and show its branch.

        The first one of a chat without a title gives it one.
        """
        text = storable(text)
        with self._database.write() as db:
            identifier = self._add(db, chat_id, parent, "user", text=text)
            index(db, identifier, chat_id, text)
            title = one_line(text, _TITLE_LENGTH)
            if (
                title
                and db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", (title, chat_id)).rowcount
            ):
                index(db, -chat_id, chat_id, title)
        return self.message(identifier)

    def message(self, message_id: int) -> Message:
        """One message; StorageError when there is none of that id."""
        return self._message(self._row(message_id))

    def messages(self, chat_id: int) -> list[Message]:
        """The messages of all branches of a chat, oldest first."""
        return [
            self._message(row)
            for row in self._database.rows("SELECT * FROM messages WHERE chat = ? ORDER BY id", (chat_id,))
        ]

    def path(self, chat_id: int) -> list[Message]:
        """The branch that is shown, from the chat's first message to its leaf."""
        return [self._message(row) for row in self._database.rows(_UP, (chat_id,))]

    def siblings(self, message: Message) -> list[int]:
        """The ids of the messages with the same parent, oldest first, itself included."""
        rows = self._database.rows(
            "SELECT id FROM messages WHERE chat = ? AND parent IS ? ORDER BY id", (message.chat_id, message.parent)
        )
        return [row["id"] for row in rows]

    def select(self, message_id: int) -> None:
        """Show the branch through this message, down to the newest of all that follow it."""
        with self._database.write() as db:
            leaf = db.execute(_DOWN, (message_id,)).fetchone()[0]
            changed = db.execute(
                "UPDATE chats SET leaf = ? WHERE id = (SELECT chat FROM messages WHERE id = ?)", (leaf, message_id)
            )
            if not changed.rowcount:
                raise gone("message", message_id)

    def prompts(self, limit: int = 100) -> list[str]:
        """What the user said last in any chat, newest first, without repetitions in a row."""
        with self._database.cursor(
            "SELECT text FROM messages JOIN chats ON chats.id = messages.chat"
            " WHERE role = 'user' AND text <> '' AND deleted IS NULL ORDER BY messages.id DESC"
        ) as rows:
            return [text for text, _ in islice(groupby(row["text"] for row in rows), limit)]

    def trace(self, message_id: int) -> Trace | None:
        """The record of an answer, its steps included; None for a user's message.

        Of an answer in the making, what was saved of it so far. Raises StorageError when it cannot be read.
        """
        row = self._row(message_id)
        if row["role"] != "assistant":
            return None
        settings = as_object(row["settings"])
        if row["stop"] is None:
            return trace_of_steps(settings, unpack(self._parts(message_id, "steps")), None)
        steps = unpack(
            row["steps"] for row in self._database.rows("SELECT steps FROM traces WHERE message = ?", (message_id,))
        )
        try:
            trace = Trace.from_dict({**as_object(row["totals"]), "settings": settings, "steps": []})
        except ValueError as error:
            raise StorageError("Damaged record", f"The sums of answer {message_id} cannot be read.") from error
        trace.steps = steps
        return trace

    def _add(
        self,
        db: Connection,
        chat_id: int,
        parent: int | None,
        role: Speaker,
        *,
        text: str = "",
        prefix: str = "",
        settings: str = "{}",
    ) -> int:
        now = self._clock()
        if (
            parent is not None
            and not db.execute("SELECT 1 FROM messages WHERE id = ? AND chat = ?", (parent, chat_id)).fetchone()
        ):
            raise gone("message", parent)
        if not db.execute("SELECT 1 FROM chats WHERE id = ?", (chat_id,)).fetchone():
            raise gone("chat", chat_id)
        identifier = db.execute(
            "INSERT INTO messages (chat, parent, role, created, settings, prefix, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (chat_id, parent, role, now, settings, prefix, text),
        ).lastrowid
        assert identifier is not None
        db.execute("UPDATE chats SET leaf = ?, updated = ? WHERE id = ?", (identifier, now, chat_id))
        return identifier

    def _row(self, message_id: int) -> Row:
        row = self._database.row("SELECT * FROM messages WHERE id = ?", (message_id,))
        if row is None:
            raise gone("message", message_id)
        return row

    def _parts(self, message_id: int, column: str) -> list[Any]:
        rows = self._database.rows(f"SELECT {column} FROM parts WHERE message = ? ORDER BY number", (message_id,))
        return [row[0] for row in rows]

    def _message(self, row: Row) -> Message:
        text = row["text"]
        if row["role"] == "assistant" and row["stop"] is None:
            text = row["prefix"] + "".join(self._parts(row["id"], "text"))
        return Message(
            id=row["id"],
            chat_id=row["chat"],
            parent=row["parent"],
            role=row["role"],
            prefix=row["prefix"],
            text=text,
            stop=row["stop"],
            error=row["error"],
            created=row["created"],
            settings=as_object(row["settings"]),
            totals=None if row["totals"] is None else as_object(row["totals"]),
        )


def gone(what: str, identifier: int) -> StorageError:
    """The error for something that another app has removed in the meantime."""
    return StorageError(
        f"No such {what}", f"There is no {what} {identifier} any more; another app may have deleted it."
    )


def index(db: Connection, rowid: int, chat_id: int, text: str) -> None:
    """Let a text be found: a message's under its id, a chat's title under minus the chat's."""
    db.execute("DELETE FROM words WHERE rowid = ?", (rowid,))
    db.execute("INSERT INTO words (rowid, chat, text) VALUES (?, ?, ?)", (rowid, chat_id, searchable(text)))


def as_object(text: str | None) -> dict[str, Any]:
    """A JSON object from the database; empty where it is damaged, so that the rest of a chat can be read."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
