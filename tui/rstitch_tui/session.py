"""The chat that is open: its branch of messages, the answer being written into it, and what the user does to either.

Knows the store and the engine thread; nothing of widgets. Called from the app's own thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.errors import InputError, RStitchError, StorageError
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.conversation import branched, request
from rstitch_tui.engine_thread import Answer, EngineThread, Request
from rstitch_tui.store.records import Chat, Message
from rstitch_tui.store.store import Store

_SAVE_EVERY_S = 0.5
_SAVE_AGAIN_S = 3.0
"""How long to wait where saving failed: a database that is locked holds up the app each time."""


class Session:
    """One chat at work. What asks for an answer only prepares it; `launch` has it written.

    Attributes:
        chat: the chat that is open; it is written to the store with its first message.
        path: the messages of its current branch.
        answer: the answer that is being written, and `writing` the message it goes to.
    """

    def __init__(self, store: Store, engine: EngineThread) -> None:
        self.store = store
        self.engine = engine
        self.defaults = PairDefaults()
        self.chat: Chat | None = None
        self.settings = ChatSettings()
        self.path: list[Message] = []
        self.answer: Answer | None = None
        self.writing: Message | None = None
        self.fresh = ChatSettings()
        """What a new chat begins with."""
        self._unsaved: list[Step] = []
        self._saved_at = 0.0
        self._owed: list[Callable[[], None]] = []
        self._complained = False
        self.complain: Callable[[RStitchError], object] = lambda _: None
        """Told, once an answer, that what is written cannot be saved; the answer goes on."""

    @property
    def title(self) -> str:
        """The chat's name."""
        return self.chat.title if self.chat is not None else ""

    def new_chat(self, settings: ChatSettings | None = None) -> None:
        """Begin an empty chat; it is kept only once something is said in it."""
        self.stop()
        self.chat = None
        self.settings = settings or self.fresh
        self.path = []

    def open(self, chat_id: int) -> None:
        """Open a chat of the store at the branch it was left at."""
        self.stop()
        self.chat = self.store.chat(chat_id)
        self.settings = self.chat.settings
        self.reload()

    def reload(self) -> None:
        """Read the branch anew."""
        self.path = self.store.path(self.chat.id) if self.chat is not None else []

    def begin_with(self, **fields: object) -> None:
        """Change what new chats begin with, and the one that is open if nothing is said in it yet."""
        self.fresh = ChatSettings.model_validate({**self.fresh.model_dump(), **fields})
        if self.chat is None:
            self.change(**fields)

    def change(self, **fields: object) -> None:
        """Change the chat's settings; raises UsageError or ValueError where a value means nothing."""
        self.settings = ChatSettings.model_validate({**self.settings.model_dump(), **fields})
        if self.chat is not None:
            self.store.set_settings(self.chat.id, self.settings)

    def ask(self, text: str) -> None:
        """Say something, and have it answered."""
        with self._or_as_before():
            # Another app may have deleted it.
            chat = self.store.new_chat(self.settings) if self.chat is None else self.store.chat(self.chat.id)
            message = self.store.add_user(chat.id, self.path[-1].id if self.path else None, text)
            self.chat = self.store.chat(chat.id)
            self.path.append(message)
            self._write()

    def edit_question(self, message: Message, text: str) -> None:
        """Say something else in place of a message, as a branch of its own, and have it answered."""
        with self._or_as_before():
            self.path = self._before(message)
            self.ask(text)

    def regenerate(self, message: Message, *, router: str | None = None) -> None:
        """Answer once more, with another seed, or with another router and the seed as it was."""
        with self._or_as_before():
            others = len(self.store.siblings(message))
            self.path = self._before(message)
            self._write(seed=self.settings.seed + (0 if router else others), router=router)

    def edit_answer(self, message: Message, text: str) -> None:
        """Have an answer go on from a text the user gives."""
        with self._or_as_before():
            self.path = self._before(message)
            self._write(prefix=text)

    def go_on(self, message: Message) -> None:
        """Have an answer that was stopped or cut off go on where it ended."""
        with self._or_as_before():
            trace = self.store.trace(message.id)
            self.path = self._before(message)
            if trace is None or trace.settings.get("pair") != self.settings.pair:
                # Its tokens mean nothing to the models that are loaded; its text does.
                self._write(prefix=message.text)
            else:
                kept = trace.steps[:-1] if trace.stop == "eog" else trace.steps
                self._write(prefix=message.prefix, resume_steps=kept, seed=trace.seed)

    def branch(self, message: Message, index: int, role: Role, token: int) -> None:
        """Have an answer go on from one of its tokens with another in its place."""
        with self._or_as_before():
            trace = self.store.trace(message.id)
            if trace is None:
                raise InputError("Nothing to branch from", "This answer has no record of its tokens.")
            self.path = self._before(message)
            self._write(prefix=message.prefix, resume_steps=branched(trace.steps, index, role, token), seed=trace.seed)

    def request_of(self, message: Message) -> Request:
        """The request an answer of the branch was the answer to, as the chat is set now."""
        return request(self._before(message), self.settings, self.defaults, prefix=message.prefix)

    def walk(self, message: Message, by: int) -> bool:
        """Show the next (1) or the one before (-1) of the branches at a message; whether there is one."""
        self.require_quiet()
        siblings = self.store.siblings(message)
        place = siblings.index(message.id) + by if message.id in siblings else -1
        if not 0 <= place < len(siblings):
            return False
        self.store.select(siblings[place])
        self.reload()
        return True

    def drop_oldest(self) -> int:
        """Leave the older half of the turns out of what the models read; returns how many turns that were.

        Raises:
            InputError: only one turn is left.
        """
        first = self.settings.first or 0
        asked = [message.id for message in self.path if message.role == "user" and message.id >= first]
        if len(asked) < 2:
            raise InputError("Nothing to drop", "The last question alone fills the context.", "Shorten it.")
        dropped = (len(asked) + 1) // 2
        self.change(first=asked[dropped])
        return dropped

    def answer_last(self) -> None:
        """Answer the last question of the branch (again, where an answer to it failed)."""
        with self._or_as_before():
            if self.path and self.path[-1].role == "assistant":
                self.path = self.path[:-1]
            self._write()

    def launch(self) -> None:
        """Have the answer that was just asked for written, now that there is room for it on the screen."""
        if self.answer is not None:
            self.engine.write(self.answer)

    def stop(self) -> None:
        """Stop the answer that is being written; what is written of it is kept."""
        if self.answer is not None:
            self.answer.stop()

    def pump(self, *, save: bool = False) -> list[Step]:
        """The steps written since the last call; saved twice a second, or at once with `save`.

        The store is told of an answer that has nothing new as well: by that another app sees that it is at work.
        """
        if self.answer is None or self.writing is None:
            return []
        steps = self.answer.take()
        self._unsaved += steps
        if save or time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            try:
                self.store.extend_answer(self.writing.id, self._unsaved)
                self._unsaved = []
            except StorageError as error:
                self._saved_at += _SAVE_AGAIN_S
                self._could_not_save(error)
        return steps

    def conclude(self, answer: Answer) -> Message | None:
        """Keep an answer that is at its end for good; the message, or None where it is not this chat's any more."""
        if answer is not self.answer or self.writing is None:
            return None
        writing = self.writing
        answer.take()
        self._unsaved = []
        self.answer = self.writing = None
        said = "" if answer.error is None else _sentence(answer.error)
        if answer.error is not None:
            keep = partial(self.store.fail_answer, writing.id, answer.trace, said)
        else:
            keep = partial(self.store.finish_answer, writing.id, answer.trace or Trace(answer.request.seed))
        try:
            keep()
            message = self.store.message(writing.id)
        except StorageError as error:
            self._owed.append(keep)
            self._could_not_save(error)
            message = _as_it_is(writing, answer, said)
        self.path = [message if old.id == message.id else old for old in self.path]
        return message

    def settle(self) -> bool:
        """Save the answers that could not be saved when they ended; whether there are none left."""
        while self._owed:
            try:
                self._owed[0]()
            except StorageError:
                return False
            del self._owed[0]
        return True

    def _could_not_save(self, error: StorageError) -> None:
        if not self._complained:
            self._complained = True
            self.complain(error)

    def _write(
        self, *, prefix: str = "", resume_steps: Sequence[Step] = (), seed: int | None = None, router: str | None = None
    ) -> None:
        """Have the last message of the path answered."""
        if self.chat is None or not self.path:
            raise InputError("Nothing to answer", "The chat is empty.")
        self.settle()
        wanted = request(
            self.path, self.settings, self.defaults, prefix=prefix, resume_steps=resume_steps, seed=seed, router=router
        )
        # What a trace will say of itself, as far as it is known: the program may be killed before there is one.
        known = {"pair": self.settings.pair, "router": wanted.router or self.defaults.router, "seed": wanted.seed}
        self.writing = self.store.begin_answer(self.chat.id, self.path[-1].id, prefix, known)
        self.path.append(self.writing)
        self._unsaved = list(resume_steps)
        self._saved_at = 0.0
        self._complained = False
        self.answer = Answer(wanted)

    def _before(self, message: Message) -> list[Message]:
        """The branch up to a message, without it."""
        place = next((place for place, old in enumerate(self.path) if old.id == message.id), None)
        if place is None:
            raise InputError("Another branch", "This message is not on the branch that is shown any more.")
        return self.path[:place]

    @contextmanager
    def _or_as_before(self) -> Iterator[None]:
        """Where what the block begins cannot be begun, the branch stays as it was."""
        self.require_quiet()
        path = list(self.path)
        try:
            yield
        except BaseException:
            self.path = path
            raise

    def require_quiet(self) -> None:
        """Raise InputError while an answer is being written."""
        if self.answer is not None:
            raise InputError("An answer is being written", "Wait for its end, or stop it with Esc.")


def _as_it_is(writing: Message, answer: Answer, error: str) -> Message:
    """An answer that is at its end, as it would have come back from the store."""
    trace = answer.trace or Trace(answer.request.seed)
    return replace(
        writing,
        text=writing.prefix + trace.text,
        stop="error" if error else trace.stop or "interrupted",
        error=error,
        settings={**writing.settings, **trace.settings},
        totals=trace.totals(),
    )


def _sentence(error: RStitchError) -> str:
    return f"{error.title}. {error.message}" + (f" {error.hint}" if error.hint else "")
