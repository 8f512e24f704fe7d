"""The chat at work: the open chat and the answer being generated for it.

Uses the store and the engine thread, no widgets. Called from the app's thread only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import InputError
from rstitch_tui.answer import Answer, Request
from rstitch_tui.answer_saver import AnswerSaver
from rstitch_tui.conversation import branched, request
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.open_chat import OpenChat
from rstitch_tui.store.records import Message
from rstitch_tui.store.store import Store


class Session(OpenChat):
    """The open chat and its answers. Methods that request an answer only prepare it; `start_answer` starts it.

    Attributes:
        answer: the answer being generated; answer_message is its message.
        saver: saves the answer.
    """

    def __init__(self, store: Store, engine: EngineThread) -> None:
        super().__init__(store)
        self.saver = AnswerSaver(store)
        self.answer: Answer | None = None
        self.answer_message: Message | None = None
        self._engine = engine

    def new_chat(self) -> None:
        self.stop()
        super().new_chat()

    def open(self, chat_id: int) -> None:
        self.stop()
        super().open(chat_id)

    def set_tau(self, tau: float) -> None:
        """Change the threshold of the chat, and of the current answer from the next token on.

        Raises:
            UsageError: tau is not between 0 and 1.
        """
        router = self.router_with_tau(tau)
        if self.answer is not None:
            self.answer.tau = tau
        self.change(router=router)

    def switch_branch(self, message: Message, by: int) -> bool:
        self.require_idle()
        return super().switch_branch(message, by)

    # Requesting answers

    def ask(self, text: str) -> None:
        """Add a question and request its answer.

        Raises:
            InputError: an answer is being generated, here or by another app.
        """
        with self._restoring_path():
            self.follow_other_app()
            if self.path and self.path[-1].unfinished:
                raise InputError(
                    "Answer in progress",
                    "Another window is generating the last answer of this chat.",
                    "Wait until it ends, or start a new chat.",
                )
            # Read it again: another app may have deleted the chat.
            chat = self.store.new_chat(self.settings) if self.chat is None else self.store.chat(self.chat.id)
            if self.chat is None:
                self.on_opened(chat.id)
            message = self.store.add_user(chat.id, self.path[-1].id if self.path else None, text)
            self.chat = self.store.chat(chat.id)
            self.path.append(message)
            self._request()

    def edit_question(self, message: Message, text: str) -> None:
        """Ask another question in place of a message, as a new branch."""
        with self._restoring_path():
            self.path = self.path_before(message)
            self.ask(text)

    def regenerate(self, message: Message, *, router: str | None = None) -> None:
        """Request another answer: with another seed, or with another router and the same seed."""
        with self._restoring_path():
            seed = self.settings.seed + (0 if router else len(self.store.siblings(message)))
            self.path = self.path_before(message)
            self._request(seed=seed, router=router)

    def edit_answer(self, message: Message, text: str) -> None:
        """Request an answer that starts with `text`, as a new branch."""
        with self._restoring_path():
            self.path = self.path_before(message)
            self._request(prefix=text)

    def continue_answer(self, message: Message) -> None:
        """Resume an answer that was stopped or cut off."""
        with self._restoring_path():
            trace = self.store.trace(message.id)
            self.path = self.path_before(message)
            if trace is None or trace.settings.get("pair") != self.settings.pair:
                # Token ids of another pair are meaningless here; the text is not.
                self._request(prefix=message.text)
            else:
                # A finished answer is resumed before the token that ended it.
                steps = trace.steps[:-1] if trace.stop in ("eog", "stop") else trace.steps
                self._request(prefix=message.prefix, resume_steps=steps, seed=trace.seed)

    def branch(self, message: Message, index: int, role: Role, token: int) -> None:
        """Resume an answer from step `index` with another token in its place."""
        with self._restoring_path():
            trace = self.store.trace(message.id)
            if trace is None:
                raise InputError("No token record", "The tokens of this answer were not recorded.")
            self.path = self.path_before(message)
            steps = branched(trace.steps, index, role, token)
            self._request(prefix=message.prefix, resume_steps=steps, seed=trace.seed)

    def retry_question(self) -> None:
        """Request an answer to the last question, replacing an answer that failed."""
        with self._restoring_path():
            if self.path and self.path[-1].role == "assistant":
                self.path = self.path[:-1]
            self._request()

    def request_of(self, message: Message) -> Request:
        """Return the request of an answer on the branch, with the chat's current settings."""
        return request(self.path_before(message), self.settings, self.defaults, prefix=message.prefix)

    def _request(
        self, *, prefix: str = "", resume_steps: Sequence[Step] = (), seed: int | None = None, router: str | None = None
    ) -> None:
        """Request an answer to the last message of the path."""
        if self.chat is None or not self.path:
            raise InputError("Empty chat", "The chat has no question to answer.")
        new = request(
            self.path, self.settings, self.defaults, prefix=prefix, resume_steps=resume_steps, seed=seed, router=router
        )
        settings = {"pair": self.settings.pair, "router": new.router or self.defaults.router, "seed": new.seed}
        self.answer_message = self.saver.begin(self.chat.id, self.path[-1].id, prefix, settings, resume_steps)
        self.path.append(self.answer_message)
        self.answer = Answer(new)

    # The answer being generated

    def start_answer(self) -> None:
        """Start generating the requested answer."""
        if self.answer is not None:
            self._engine.generate(self.answer)

    def stop(self) -> bool:
        """Stop the current answer and keep its text; returns whether there is one."""
        if self.answer is not None:
            self.answer.stop()
        return self.answer is not None

    def follow_other_app(self) -> Message | None:
        return super().follow_other_app() if self.answer is None else None

    def take_steps(self, *, save: bool = False) -> list[Step]:
        """Return the steps generated since the last call; saves them now and then, or immediately with `save`."""
        if self.answer is None or self.answer_message is None:
            return []
        steps = self.answer.take_steps()
        self.saver.add(self.answer_message, steps, now=save)
        return steps

    def finish_answer(self, answer: Answer) -> Message | None:
        """Save an answer that has ended; returns its message, or None if it is not the current answer."""
        if answer is not self.answer or self.answer_message is None:
            return None
        open_message = self.answer_message
        answer.take_steps()
        self.answer = self.answer_message = None
        message = self.saver.finish(open_message, answer)
        self.path = [message if old.id == message.id else old for old in self.path]
        return message

    def require_idle(self) -> None:
        """Raise InputError while an answer is being generated."""
        if self.answer is not None:
            raise InputError("Answer in progress", "An answer is being generated.", "Wait for it or stop it with Esc.")

    @contextmanager
    def _restoring_path(self) -> Iterator[None]:
        """Restore the path if the request in the block fails."""
        self.require_idle()
        path = list(self.path)
        try:
            yield
        except BaseException:
            self.path = path
            raise
