"""Answers while they are generated: saved as they stream, finished, and recovered after a crash.

Independent of the engine and of widgets.
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
from rstitch_tui.store.messages import Messages, index_text, not_found
from rstitch_tui.store.records import Message
from rstitch_tui.store.steps import encodable, pack, to_json, trace_of_steps, unpack
from rstitch_tui.store.values import integer_of, json_object, text_of, time_of

HEARTBEAT_S = 5.0
"""An answer that was not extended for this long is considered abandoned."""

# No system has larger ones.
_PROCESS_IDS = 2**31


class Answers(Messages):
    """Messages, and the answers that are being generated.

    An unfinished answer has a row in `writing` with its process and the time of the last heartbeat, and rows in
    `parts` with the steps saved so far. Finishing it moves everything into `messages` and `traces`.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        super().__init__(database, clock)
        self._open_ids: set[int] = set()

    def begin_answer(self, chat_id: int, parent: int, prefix: str, settings: Mapping[str, Any]) -> Message:
        """Add an unfinished answer after `parent` and show its branch.

        Args:
            chat_id: id of the chat.
            parent: id of the question.
            prefix: text the answer is made to start with.
            settings: settings of the answer; "seed" and "opens_thinking" are needed to recover it after a crash.
        """
        with self._database.write() as db:
            message_id = self._add(
                db, chat_id, parent, "assistant", prefix=encodable(prefix), settings=to_json(dict(settings))
            )
            self._claim(db, message_id)
        self._open_ids.add(message_id)
        return self.message(message_id)

    def extend_answer(self, message_id: int, steps: Sequence[Step]) -> None:
        """Save the steps since the last call; resumed steps come first.

        Call this every second while the answer is generated, even without new steps: it is the heartbeat by which
        other processes on the same database see that the answer is not abandoned. The cost depends on the number of
        new steps only.

        Raises:
            StorageError: the answer was not begun by this store, is finished, or cannot be saved.
        """
        if message_id not in self._open_ids:
            raise StorageError("Answer is closed", f"Answer {message_id} is not being generated here.")
        with self._database.write() as db:
            if not db.execute(
                "UPDATE writing SET heartbeat = ? WHERE message = ?", (self._clock(), message_id)
            ).rowcount:
                self._reopen(db, message_id)
            if steps:
                self._add_part(db, message_id, "".join(step.text for step in steps), pack(steps))

    def finish_answer(self, message_id: int, trace: Trace) -> None:
        """Save the complete answer. The trace replaces what was saved before.

        The settings of the trace are merged into those of `begin_answer`. Takes about 3 ms for 1000 tokens.
        """
        with self._database.write() as db:
            self._close(db, message_id, trace, trace.stop or "interrupted")
        self._open_ids.discard(message_id)

    def fail_answer(self, message_id: int, trace: Trace | None, error_text: str) -> None:
        """Save an answer that ended with an error; without a trace, keep what was saved before."""
        trace = trace or self.trace(message_id) or Trace(0)
        with self._database.write() as db:
            self._close(db, message_id, trace, "error", error=encodable(error_text))
        self._open_ids.discard(message_id)

    def path(self, chat_id: int) -> list[Message]:
        """Return the branch that is shown, from the chat's first message to its leaf.

        Abandoned answers are finished first: they keep what was saved and count as interrupted.
        """
        self._recover()
        return super().path(chat_id)

    def _recover(self) -> None:
        """Finish abandoned answers."""
        for row in self._database.rows("SELECT message, process, heartbeat FROM writing"):
            if row["message"] not in self._open_ids and not self._is_alive(row):
                # One that cannot be finished must not keep all chats from being read.
                with suppress(StorageError):
                    self._finish_abandoned(row)

    def _finish_abandoned(self, row: Row) -> None:
        settings = json_object(self._row(row["message"])["settings"])
        text = "".join(map(text_of, self._parts(row["message"], "text")))
        steps: list[Step] = []
        with suppress(StorageError):
            steps = unpack(self._parts(row["message"], "steps"))
        trace = trace_of_steps(settings, steps, "interrupted")
        with self._database.write() as db:
            # Its process may have sent a heartbeat since, or another process may have finished it.
            unchanged = "SELECT 1 FROM writing WHERE message = ? AND heartbeat IS ?"
            if db.execute(unchanged, (row["message"], row["heartbeat"])).fetchone():
                self._close(db, row["message"], trace, "interrupted", text=text)

    def _is_alive(self, row: Row) -> bool:
        # abs(): a clock that was set back must not keep an answer open for hours.
        fresh = abs(self._clock() - time_of(row["heartbeat"])) <= HEARTBEAT_S
        process = integer_of(row["process"])
        return fresh and 0 < process < _PROCESS_IDS and (process == os.getpid() or psutil.pid_exists(process))

    def _claim(self, db: Connection, message_id: int) -> None:
        db.execute("INSERT INTO writing VALUES (?, ?, ?)", (message_id, os.getpid(), self._clock()))

    def _add_part(self, db: Connection, message_id: int, text: str, steps: bytes) -> None:
        db.execute(
            "INSERT INTO parts SELECT :id, coalesce(max(number), 0) + 1, :text, :steps FROM parts WHERE message = :id",
            {"id": message_id, "text": encodable(text), "steps": steps},
        )

    def _reopen(self, db: Connection, message_id: int) -> None:
        """Take back an answer that another process considered abandoned, for example while this machine slept."""
        row = db.execute(
            "SELECT prefix, text, steps FROM messages JOIN traces ON message = id WHERE id = ?", (message_id,)
        ).fetchone()
        if row is None:
            raise not_found("message", message_id)
        self._claim(db, message_id)
        self._add_part(db, message_id, text_of(row["text"])[len(text_of(row["prefix"])) :], row["steps"])
        db.execute("DELETE FROM traces WHERE message = ?", (message_id,))
        db.execute("UPDATE messages SET stop = NULL, totals = NULL, text = '' WHERE id = ?", (message_id,))

    def _close(
        self, db: Connection, message_id: int, trace: Trace, stop: str, *, error: str = "", text: str | None = None
    ) -> None:
        """Save an answer for good; `text` replaces the text of a trace whose steps may be incomplete."""
        row = db.execute(
            "SELECT chat, prefix, settings FROM messages WHERE id = ? AND role = 'assistant'", (message_id,)
        ).fetchone()
        if row is None:
            raise not_found("message", message_id)
        text = text_of(row["prefix"]) + encodable(trace.text if text is None else text)
        settings = to_json({**json_object(row["settings"]), **trace.settings})
        totals = to_json({**trace.totals(), "stop": stop})
        db.execute(
            "UPDATE messages SET text = ?, stop = ?, error = ?, settings = ?, totals = ? WHERE id = ?",
            (text, stop, error, settings, totals, message_id),
        )
        db.execute("INSERT OR REPLACE INTO traces VALUES (?, ?)", (message_id, pack(trace.steps)))
        db.execute("DELETE FROM parts WHERE message = ?", (message_id,))
        db.execute("DELETE FROM writing WHERE message = ?", (message_id,))
        db.execute("UPDATE chats SET updated = ? WHERE id = ?", (self._clock(), row["chat"]))
        index_text(db, message_id, row["chat"], text)
