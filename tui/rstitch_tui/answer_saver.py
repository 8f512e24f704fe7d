"""Saves answers: while they are generated, when they have ended, and again later if the store failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rstitch_local.decoding.step import Step
from rstitch_local.errors import RStitchError, StorageError
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Answer
from rstitch_tui.store.records import Message
from rstitch_tui.store.store import Store

_SAVE_EVERY_S = 0.5
_RETRY_AFTER_S = 3.0
"""Extra delay after a failure: each attempt on a locked database blocks the app."""


class AnswerSaver:
    """Writes one answer at a time to the store. A store that fails does not stop the answer.

    Attributes:
        on_error: called at most once per answer, with the first storage error.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unsaved_steps: list[Step] = []
        self._saved_at = 0.0
        self._pending: list[Callable[[], None]] = []
        self._error_reported = False
        self.on_error: Callable[[RStitchError], object] = lambda _: None

    def begin(
        self, chat_id: int, parent: int, prefix: str, settings: Mapping[str, Any], resume_steps: Sequence[Step]
    ) -> Message:
        """Create the message of a new answer, after retrying what could not be saved before.

        Args:
            chat_id: id of the chat.
            parent: id of the question.
            prefix: text the answer starts with.
            settings: known settings, in case the process is killed before there is a trace.
            resume_steps: steps taken over from an earlier answer.
        """
        self.save_pending()
        message = self._store.begin_answer(chat_id, parent, prefix, settings)
        self._unsaved_steps = list(resume_steps)
        self._saved_at = 0.0
        self._error_reported = False
        return message

    def add(self, message: Message, steps: Sequence[Step], *, now: bool = False) -> None:
        """Save new steps twice a second, or immediately with `now`.

        Call it also without new steps: it updates the heartbeat by which other apps see that the answer is active.
        """
        self._unsaved_steps += steps
        if not now and time.monotonic() - self._saved_at < _SAVE_EVERY_S:
            return
        self._saved_at = time.monotonic()
        try:
            self._store.extend_answer(message.id, self._unsaved_steps)
            self._unsaved_steps = []
        except StorageError as error:
            self._saved_at += _RETRY_AFTER_S
            self._report(error)

    def finish(self, message: Message, answer: Answer) -> Message:
        """Save an answer that has ended and return its final message."""
        self._unsaved_steps = []
        error = "" if answer.error is None else _error_text(answer.error)
        if answer.error is not None:
            save = partial(self._store.fail_answer, message.id, answer.trace, error)
        else:
            save = partial(self._store.finish_answer, message.id, answer.trace or Trace(answer.request.seed))
        try:
            save()
            return self._store.message(message.id)
        except StorageError as failure:
            self._pending.append(save)
            self._report(failure)
            return _finished_message(message, answer, error)

    def save_pending(self) -> bool:
        """Retry saving the answers that failed; returns whether none are left."""
        while self._pending:
            try:
                self._pending[0]()
            except StorageError:
                return False
            del self._pending[0]
        return True

    def _report(self, error: StorageError) -> None:
        if not self._error_reported:
            self._error_reported = True
            self.on_error(error)


def _finished_message(message: Message, answer: Answer, error: str) -> Message:
    """Return the message the store would have returned."""
    trace = answer.trace or Trace(answer.request.seed)
    return replace(
        message,
        text=message.prefix + trace.text,
        stop="error" if error else trace.stop or "interrupted",
        error=error,
        settings={**message.settings, **trace.settings},
        totals=trace.totals(),
    )


def _error_text(error: RStitchError) -> str:
    return f"{error.title}. {error.message}" + (f" {error.hint}" if error.hint else "")
