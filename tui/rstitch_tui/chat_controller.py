"""The implementation of `chat_host.ChatHost`: operations on the session, drawn on the chat screen."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any

from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line
from rstitch_tui.actions.models import offer_more_context
from rstitch_tui.answer import Answer
from rstitch_tui.answer_display import AnswerDisplay
from rstitch_tui.chat_host import Dialogs
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.notices import errors_shown, show_error
from rstitch_tui.session import Session
from rstitch_tui.store.records import Message
from rstitch_tui.widgets.composer import Composer
from rstitch_tui.widgets.key_hints import ChatState, KeyHints, Place
from rstitch_tui.widgets.message_log import MessageLog
from rstitch_tui.widgets.message_view import MessageView
from rstitch_tui.widgets.routing_panel import RoutingPanel
from rstitch_tui.widgets.tau_slider import TauSlider

_PROMPTS = 200
"""Earlier prompts that the Up key recalls."""


class ChatController:
    """Draws the session on the chat screen and starts its answers.

    Args:
        screen: the chat screen, with widgets of the types Composer, MessageLog and RoutingPanel and a Static #title.
        session: the open chat.
        models: the state of the models.
        dialogs: opens the other screens.
    """

    def __init__(
        self,
        screen: Screen[Any],
        session: Session,
        models: ModelLoader,
        dialogs: Dialogs,
    ) -> None:
        self.session = session
        self.models = models
        self.dialogs = dialogs
        self.display = AnswerDisplay(screen, session, models)
        self.ended_at = 0.0
        """When the last answer ended, by `time.monotonic`."""
        self._screen = screen
        # With the time, newest first, like the prompts of the store.
        self._commands: list[tuple[float, str]] = []

    @property
    def composer(self) -> Composer:
        return self._screen.query_one(Composer)

    @property
    def log_view(self) -> MessageLog:
        return self._screen.query_one(MessageLog)

    # What is shown

    async def show_chat(self) -> None:
        self._show_history()
        await self.display.show_branch()
        self.show_settings()
        self.display.show_routing(self.selected_answer())

    def show_settings(self) -> None:
        if not self._screen.is_running:
            # The app is quitting while models are loaded; the widgets are gone.
            return
        session = self.session
        rest = f"  ·  {one_line(self.models.pair_name or 'no models', 40)}  ·  {self._router_name()}"
        title = one_line(session.title or "New chat", max(8, min(60, self._screen.size.width - len(rest) - 2)))
        self._screen.query_one("#title", Static).update(Content(title + rest))
        self._screen.query_one(RoutingPanel).set_tau(session.tau, live=session.answer is not None)
        self.display.show_status()
        self.show_keys()

    def _router_name(self) -> str:
        """Return the router without its tau, which the panel shows."""
        router = self.session.router
        return router if self.session.tau is None else router.partition(":")[0]

    def show_keys(self) -> None:
        """Show the keys for what can be done now."""
        focused = self._screen.focused
        place: Place = "slider" if isinstance(focused, TauSlider) else "prompt"
        if isinstance(focused, MessageView):
            place = "message"
        state = ChatState(
            place,
            writing=self.session.answer is not None,
            has_answer=self.session.last_answer() is not None,
            has_tau=self.session.tau is not None,
            letters=not (isinstance(focused, MessageView) and focused.clicked),
        )
        self._screen.query_one(KeyHints).show(state)

    def show_selected_routing(self) -> None:
        """Draw the routing of the selected answer, unless an answer is being generated."""
        if self.session.answer is None:
            with self.errors_shown():
                self.display.show_routing(self.selected_answer())

    def remember_command(self, text: str) -> None:
        """Add a command to the history of the prompt, until the chat is quit."""
        self._commands.insert(0, (time.time(), text))
        self._show_history()

    def _show_history(self) -> None:
        with self.errors_shown():
            sent = heapq.merge(self.session.store.prompts(_PROMPTS), self._commands, reverse=True)
            self.composer.sent_messages = [text for text, _ in groupby(text for _, text in sent)]

    def scroll_to_end(self) -> None:
        self.log_view.follow()

    def focus_prompt(self, text: str = "") -> None:
        self.composer.focus()
        if text:
            self.composer.set_text(text)

    async def focus_message(self, message_id: int) -> None:
        view = await self.log_view.reveal(message_id)
        if view is not None:
            view.focus()

    def focused_message(self) -> Message | None:
        view = self.log_view.current
        return next((each for each in self.session.path if view is not None and each.id == view.message_id), None)

    def selected_answer(self) -> Message | None:
        """The answer with the focus, or else the last one."""
        focused = self.focused_message()
        return focused if focused is not None and focused.role == "assistant" else self.session.last_answer()

    def notice(self, text: str, *, seconds: float = 4) -> None:
        self._screen.app.notify(text, markup=False, timeout=seconds)

    def show_error(self, error: Exception) -> None:
        show_error(self._screen.app, error)

    def errors_shown(self) -> AbstractContextManager[None]:
        return errors_shown(self._screen.app)

    def copy(self, text: str) -> None:
        self._screen.app.copy_to_clipboard(text)

    async def toggle_tokens(self) -> None:
        await self.log_view.show_tokens(not self.log_view.as_tokens)

    async def toggle_formulas(self) -> None:
        await self.log_view.show_formulas_as_source(not self.log_view.formulas_as_source)

    async def toggle_thinking(self) -> None:
        await self.log_view.show_thinking(not self.log_view.unfolded)

    async def quit(self) -> None:
        await self._screen.app.action_quit()

    # Answers

    async def request_answer(self, request: Callable[[], object]) -> bool:
        try:
            request()
        except (RStitchError, ValueError) as error:
            show_error(self._screen.app, error)
            return False
        self.display.begin_answer()
        # The answer starts even if drawing fails.
        with self.errors_shown():
            self._show_history()
            await self.display.show_branch()
            await self.display.show_resumed_steps()
            self.scroll_to_end()
            self.show_settings()
        # After drawing, which would delay the first tokens.
        self._screen.call_after_refresh(self._start_answer)
        return True

    def _start_answer(self) -> None:
        self.display.start_pace()
        self.session.start_answer()

    async def answer_ended(self, answer: Answer) -> None:
        """Save and draw an answer that has ended."""
        steps = self.session.take_steps(save=True) if answer is self.session.answer else []
        message = self.session.finish_answer(answer)
        if not self._screen.is_running:
            # The app is quitting and the widgets are gone.
            return
        if message is None or all(message.id != each.id for each in self.session.path):
            # Another chat or branch has been opened meanwhile.
            self.display.show_status()
            return
        self.ended_at = time.monotonic()
        await self.display.finish(answer, message, steps)
        if not self._screen.is_running:
            return
        self.show_settings()
        if answer.context_full or answer.prompt_too_long:
            offer_more_context(self, message, answer.context_used)
