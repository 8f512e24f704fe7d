"""Answers as they come into being: saved while they stream, finished, and found again after a crash.

Knows what of an answer is in the database at which moment; nothing of what makes answers or shows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from sqlite3 import Connection, Row
from typing import Any

import psutil

from rstitch_local.decoding.step import Step
from rstitch_local.errors import StorageError
from rstitch_local.trace.record import Trace
from rstitch_tui.store.database import Database
from rstitch_tui.store.messages import Messages, as_object, gone, index
from rstitch_tui.store.records import Message
from rstitch_tui.store.steps import pack, storable, to_json, trace_of_steps, unpack

HEARTBEAT_S = 5.0
"""An answer that was not extended for so long has lost its writer, whatever became of it."""


class Answers(Messages):
    """Messages, and answers in the making.

    An answer in the making has a row in `writing` that says who writes it and when he was last heard of, and rows
    in `parts` for what was saved of it. The end puts all of it into `messages` and `traces`.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        super().__init__(database, clock)
        self._own: set[int] = set()

    def begin_answer(self, chat_id: int, parent: int, prefix: str, settings: Mapping[str, Any]) -> Message:
        """Put an unfinished answer after `parent` and show its branch.

        Args:
            chat_id: the chat.
            parent: the question.
            prefix: the text it is made to begin with.
            settings: what it is made with; "seed" and "opens_thinking" are wanted should the app be killed.
        """
        with self._database.write() as db:
            identifier = self._add(
                db, chat_id, parent, "assistant", prefix=storable(prefix), settings=to_json(dict(settings))
            )
            self._claim(db, identifier)
        self._own.add(identifier)
        return self.message(identifier)

    def extend_answer(self, message_id: int, steps: Sequence[Step]) -> None:
        """Save steps that came since the last call; those taken over from an earlier answer come first.

        To be called every second while an answer is made, without steps too: this is how other apps on the same
        database see that somebody is at work on it. It costs what the new steps cost, however long the answer.
        """
        if message_id not in self._own:
            raise StorageError("Answer is closed", f"Answer {message_id} is not being written here.")
        with self._database.write() as db:
            if not db.execute(
                "UPDATE writing SET heartbeat = ? WHERE message = ?", (self._clock(), message_id)
            ).rowcount:
                self._reopen(db, message_id)
            if steps:
                self._add_part(db, message_id, "".join(step.text for step in steps), pack(steps))

    def finish_answer(self, message_id: int, trace: Trace) -> None:
        """Keep an answer for good: text, steps and sums are the trace's, whatever was saved before.

        Settings become those of `begin_answer` with the trace's laid over them. About 3 ms for 1000 tokens.
        """
        with self._database.write() as db:
            self._close(db, message_id, trace, trace.stop or "interrupted")
        self._own.discard(message_id)

    def fail_answer(self, message_id: int, trace: Trace | None, error_text: str) -> None:
        """Keep an answer that an error ended, with the error's sentence; without a trace, what was saved of it."""
        trace = trace or self.trace(message_id) or Trace(0)
        with self._database.write() as db:
            self._close(db, message_id, trace, "error", error=storable(error_text))
        self._own.discard(message_id)

    def path(self, chat_id: int) -> list[Message]:
        """The branch that is shown, from the chat's first message to its leaf.

        An answer whose writer is gone is finished first, as interrupted, with what was saved of it.
        """
        self._recover()
        return super().path(chat_id)

    def _recover(self) -> None:
        """Finish the answers whose writers are gone."""
        for row in self._database.rows("SELECT message, process, heartbeat FROM writing"):
            if row["message"] in self._own or self._at_work(row):
                continue
            settings = as_object(self._row(row["message"])["settings"])
            text = "".join(self._parts(row["message"], "text"))
            steps: list[Step] = []
            with suppress(StorageError):
                steps = unpack(self._parts(row["message"], "steps"))
            trace = trace_of_steps(settings, steps, "interrupted")
            with self._database.write() as db:
                # Its writer may have come back, or another app may have been faster.
                same = "SELECT 1 FROM writing WHERE message = ? AND heartbeat = ?"
                if db.execute(same, (row["message"], row["heartbeat"])).fetchone():
                    self._close(db, row["message"], trace, "interrupted", text=text)

    def _at_work(self, row: Row) -> bool:
        # A clock that was set back must not keep an answer open for hours.
        fresh = abs(self._clock() - row["heartbeat"]) <= HEARTBEAT_S
        return fresh and (row["process"] == os.getpid() or psutil.pid_exists(row["process"]))

    def _claim(self, db: Connection, message_id: int) -> None:
        db.execute("INSERT INTO writing VALUES (?, ?, ?)", (message_id, os.getpid(), self._clock()))

    def _add_part(self, db: Connection, message_id: int, text: str, steps: bytes) -> None:
        db.execute(
            "INSERT INTO parts SELECT :id, coalesce(max(number), 0) + 1, :text, :steps FROM parts WHERE message = :id",
            {"id": message_id, "text": storable(text), "steps": steps},
        )

    def _reopen(self, db: Connection, message_id: int) -> None:
        """Take an answer back that another app took for abandoned, as while this machine slept."""
        row = db.execute(
            "SELECT prefix, text, steps FROM messages JOIN traces ON message = id WHERE id = ?", (message_id,)
        ).fetchone()
        if row is None:
            raise gone("message", message_id)
        self._claim(db, message_id)
        self._add_part(db, message_id, row["text"][len(row["prefix"]) :], row["steps"])
        db.execute("DELETE FROM traces WHERE message = ?", (message_id,))
        db.execute("UPDATE messages SET stop = NULL, totals = NULL, text = '' WHERE id = ?", (message_id,))

    def _close(
        self, db: Connection, message_id: int, trace: Trace, stop: str, *, error: str = "", text: str | None = None
    ) -> None:
        """Keep an answer for good; `text` stands for the trace's where the steps may be incomplete."""
        row = db.execute(
            "SELECT chat, prefix, settings FROM messages WHERE id = ? AND role = 'assistant'", (message_id,)
        ).fetchone()
        if row is None:
            raise gone("message", message_id)
        text = row["prefix"] + storable(trace.text if text is None else text)
        settings = to_json({**as_object(row["settings"]), **trace.settings})
        totals = to_json({**trace.totals(), "stop": stop})
        db.execute(
            "UPDATE messages SET text = ?, stop = ?, error = ?, settings = ?, totals = ? WHERE id = ?",
            (text, stop, error, settings, totals, message_id),
        )
        db.execute("INSERT OR REPLACE INTO traces VALUES (?, ?)", (message_id, pack(trace.steps)))
        db.execute("DELETE FROM parts WHERE message = ?", (message_id,))
        db.execute("DELETE FROM writing WHERE message = ?", (message_id,))
        db.execute("UPDATE chats SET updated = ? WHERE id = ?", (self._clock(), row["chat"]))
        index(db, message_id, row["chat"], text)
