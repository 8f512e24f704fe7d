"""Draws the messages of the open chat and the routing of its answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from textual.screen import Screen

from rstitch_local.decoding.step import Step
from rstitch_local.errors import StorageError
from rstitch_tui.answer import Answer
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.pacing import Pace, collect_garbage_between_answers
from rstitch_tui.session import Session
from rstitch_tui.store.records import Message
from rstitch_tui.widgets.message_log import MessageLog
from rstitch_tui.widgets.routing_panel import RoutingPanel

_FOLLOW_EVERY_S = 0.5
_SILENT_S = 0.4
"""Seconds without a token after which the status says what the models are doing."""


class AnswerDisplay:
    """Keeps the MessageLog and the Routing panel of a screen up to date with the session."""

    def __init__(self, screen: Screen[Any], session: Session, models: ModelLoader) -> None:
        self._screen = screen
        self._session = session
        self._models = models
        self._pace = Pace()
        self._last_step_at = 0.0
        self._followed_at = 0.0
        # Held while messages are mounted or removed: an answer can end at any time.
        self._lock = asyncio.Lock()

    @property
    def _log(self) -> MessageLog:
        return self._screen.query_one(MessageLog)

    @property
    def _routing(self) -> RoutingPanel:
        return self._screen.query_one(RoutingPanel)

    async def show_branch(self) -> None:
        """Draw the messages of the branch."""
        async with self._lock:
            await self._log.show(self._session.path, self._session.branch_positions())

    def show_routing(self, answer: Message | None) -> None:
        """Draw the routing of a finished answer; None clears the panel."""
        trace = self._session.store.trace(answer.id) if answer is not None else None
        self._routing.show(trace, self._models.status)

    def show_status(self) -> None:
        """Draw the state of the models, unless an answer is being generated or the chat is closing."""
        if self._session.answer is None and self._screen.is_running:
            self._routing.show_status(self._models.status)

    def begin_answer(self) -> None:
        """Clear the panel for an answer that is about to start."""
        self._log.current = None
        self._routing.clear()
        self._last_step_at = time.monotonic()

    async def show_resumed_steps(self) -> None:
        """Draw the part that the answer takes over from an earlier one."""
        answer, message = self._session.answer, self._session.answer_message
        if answer is not None and message is not None and answer.request.resume_steps:
            view = self._log.view(message.id)
            if view is not None:
                await view.extend(answer.request.resume_steps)

    def start_pace(self) -> None:
        """Start measuring how much time drawing takes."""
        self._pace.begin()

    async def draw_new_steps(self) -> Answer | None:
        """Draw new steps unless drawing has used its share of the time; returns the answer if there were any."""
        answer = self._session.answer
        if answer is None:
            collect_garbage_between_answers()
            await self._follow_other_app()
            return None
        if answer.ended or self._lock.locked() or not self._pace.allows():
            return None
        async with self._lock:
            steps = self._session.take_steps()
            await self._draw(answer, steps)
        self._pace.drawn()
        return answer if steps else None

    async def _follow_other_app(self) -> None:
        """Draw the progress of an answer that another app is generating."""
        now = time.monotonic()
        if now - self._followed_at < _FOLLOW_EVERY_S or self._lock.locked():
            return
        self._followed_at = now
        async with self._lock:
            # An error of the store is shown when the user does something, not twice a second.
            with suppress(StorageError):
                message = self._session.follow_other_app()
                if message is not None:
                    await self._log.update_message(message)

    async def _draw(self, answer: Answer, steps: Sequence[Step]) -> None:
        message = self._session.answer_message
        view = self._log.view(message.id) if message is not None and steps else None
        if view is not None:
            view.opens_thinking = bool(answer.trace and answer.trace.settings.get("opens_thinking"))
            await view.extend(steps)
        now = time.monotonic()
        if steps:
            self._last_step_at = now
        status = working_status(answer, now - self._last_step_at)
        self._routing.extend(steps, answer.trace, answer.context_used, status=status)

    async def finish(self, answer: Answer, message: Message, steps: Sequence[Step]) -> None:
        """Draw an answer that has ended.

        Args:
            answer: the answer.
            message: its message as stored.
            steps: steps not drawn yet.
        """
        if answer.trace is not None:
            self._routing.extend(steps, answer.trace, answer.context_used, answer.llm_alone_ms, self._models.status)
        async with self._lock:
            await self._log.finish(message, answer.trace)


def working_status(answer: Answer, waiting_s: float) -> str:
    """Return what the models are doing while no token appears; "" while tokens appear.

    Args:
        answer: the answer being generated.
        waiting_s: seconds since the last token or the request.
    """
    progress = answer.prompt_progress
    if waiting_s < _SILENT_S:
        return ""
    if progress is not None:
        role, cached, total = progress
        work = f"{role.name} evaluating prompt {cached:,}/{total:,}"
    else:
        work = "Generating" if answer.trace is not None else "Starting"
    return f"{work} · {waiting_s:.0f} s · Esc stops"
