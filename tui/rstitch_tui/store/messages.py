"""The messages of a chat: a tree of which one branch is shown."""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection, Row
from typing import Any

from rstitch_local.errors import StorageError
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace
from rstitch_tui.store.database import Database
from rstitch_tui.store.records import Message, Speaker
from rstitch_tui.store.search import searchable
from rstitch_tui.store.steps import encodable, trace_of_steps, unpack
from rstitch_tui.store.values import integer_of, json_object, text_of, time_of

_TITLE_LENGTH = 60
# A parent is always older than its children, so ordering by id orders a branch.
_BRANCH = """
    WITH RECURSIVE branch (id, parent) AS (
        SELECT messages.id, parent FROM messages JOIN chats ON chats.leaf = messages.id WHERE chats.id = ?
        UNION ALL SELECT messages.id, messages.parent FROM messages JOIN branch ON messages.id = branch.parent
    )
    SELECT messages.* FROM messages JOIN branch USING (id) ORDER BY id
"""
_NEWEST_DESCENDANT = """
    WITH RECURSIVE descendants (id) AS (
        VALUES (?) UNION ALL SELECT messages.id FROM messages JOIN descendants ON messages.parent = descendants.id
    )
    SELECT max(id) FROM descendants
"""


class Messages:
    """Reading and adding messages; base class of Store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add_user(self, chat_id: int, parent: int | None, text: str) -> Message:
        """Add a question after `parent` (None: as a first message) and show its branch.

        A chat without a title is named after it.
        """
        text = encodable(text)
        with self._database.write() as db:
            message_id = self._add(db, chat_id, parent, "user", text=text)
            index_text(db, message_id, chat_id, text)
            title = one_line(text, _TITLE_LENGTH)
            if (
                title
                and db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", (title, chat_id)).rowcount
            ):
                index_text(db, -chat_id, chat_id, title)
        return self.message(message_id)

    def message(self, message_id: int) -> Message:
        """Return one message; raise StorageError if it does not exist."""
        return self._message(self._row(message_id))

    def messages(self, chat_id: int) -> list[Message]:
        """Return the messages of all branches of a chat, oldest first."""
        return [
            self._message(row)
            for row in self._database.rows("SELECT * FROM messages WHERE chat = ? ORDER BY id", (chat_id,))
        ]

    def path(self, chat_id: int) -> list[Message]:
        """Return the branch that is shown, from the chat's first message to its leaf."""
        return [self._message(row) for row in self._database.rows(_BRANCH, (chat_id,))]

    def siblings(self, message: Message) -> list[int]:
        """Return the ids of the messages with the same parent, itself included, oldest first."""
        rows = self._database.rows(
            "SELECT id FROM messages WHERE chat = ? AND parent IS ? ORDER BY id", (message.chat_id, message.parent)
        )
        return [row["id"] for row in rows]

    def select(self, message_id: int) -> None:
        """Show the branch through this message that ends at its newest descendant."""
        with self._database.write() as db:
            leaf = db.execute(_NEWEST_DESCENDANT, (message_id,)).fetchone()[0]
            changed = db.execute(
                "UPDATE chats SET leaf = ? WHERE id = (SELECT chat FROM messages WHERE id = ?)", (leaf, message_id)
            )
            if not changed.rowcount:
                raise not_found("message", message_id)

    def prompts(self, limit: int = 100) -> list[tuple[float, str]]:
        """Return the latest user messages of all chats with their times, newest first."""
        with self._database.cursor(
            "SELECT messages.created, text FROM messages JOIN chats ON chats.id = messages.chat"
            " WHERE role = 'user' AND text <> '' AND deleted IS NULL ORDER BY messages.id DESC LIMIT ?",
            (limit,),
        ) as rows:
            return [(time_of(row["created"]), text_of(row["text"])) for row in rows]

    def trace(self, message_id: int) -> Trace | None:
        """Return the trace of an answer with its steps; None for a user's message.

        The trace of an unfinished answer has the steps saved so far. Raises StorageError if it is damaged.
        """
        row = self._row(message_id)
        if row["role"] != "assistant":
            return None
        settings = json_object(row["settings"])
        if row["stop"] is None:
            return trace_of_steps(settings, unpack(self._parts(message_id, "steps")), None)
        steps = unpack(
            row["steps"] for row in self._database.rows("SELECT steps FROM traces WHERE message = ?", (message_id,))
        )
        try:
            trace = Trace.from_dict({**json_object(row["totals"]), "settings": settings, "steps": []})
        except ValueError as error:
            raise StorageError("Damaged record", f"The totals of answer {message_id} cannot be read.") from error
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
            raise not_found("message", parent)
        if not db.execute("SELECT 1 FROM chats WHERE id = ?", (chat_id,)).fetchone():
            raise not_found("chat", chat_id)
        message_id = db.execute(
            "INSERT INTO messages (chat, parent, role, created, settings, prefix, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (chat_id, parent, role, now, settings, prefix, text),
        ).lastrowid
        assert message_id is not None
        db.execute("UPDATE chats SET leaf = ?, updated = ? WHERE id = ?", (message_id, now, chat_id))
        return message_id

    def _row(self, message_id: int) -> Row:
        row = self._database.row("SELECT * FROM messages WHERE id = ?", (message_id,))
        if row is None:
            raise not_found("message", message_id)
        return row

    def _parts(self, message_id: int, column: str) -> list[Any]:
        rows = self._database.rows(f"SELECT {column} FROM parts WHERE message = ? ORDER BY number", (message_id,))
        return [row[0] for row in rows]

    def _message(self, row: Row) -> Message:
        text, prefix = text_of(row["text"]), text_of(row["prefix"])
        role: Speaker = "assistant" if row["role"] == "assistant" else "user"
        if role == "assistant" and row["stop"] is None:
            text = prefix + "".join(map(text_of, self._parts(row["id"], "text")))
        return Message(
            id=row["id"],
            chat_id=integer_of(row["chat"]),
            parent=None if row["parent"] is None else integer_of(row["parent"]),
            role=role,
            prefix=prefix,
            text=text,
            stop=None if row["stop"] is None else text_of(row["stop"]),
            error=text_of(row["error"]),
            created=time_of(row["created"]),
            settings=json_object(row["settings"]),
            totals=None if row["totals"] is None else json_object(row["totals"]),
        )


def not_found(what: str, row_id: int) -> StorageError:
    """Return the error for a row that does not exist, for example because another process deleted it."""
    return StorageError(f"No such {what}", f"There is no {what} {row_id}; another app may have deleted it.")


def index_text(db: Connection, rowid: int, chat_id: int, text: str) -> None:
    """Put a text into the full-text index: a message under its id, a title under the negated id of its chat."""
    db.execute("DELETE FROM words WHERE rowid = ?", (rowid,))
    db.execute("INSERT INTO words (rowid, chat, text) VALUES (?, ?, ?)", (rowid, chat_id, searchable(text)))
