"""The main screen: the messages of one chat, what the routing does, and where one types.

Knows which widgets there are and hands on what they report; what it means is the session's, how it looks the widgets'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from rstitch_local.decoding.step import Step
from rstitch_local.errors import PromptTooLongError, RStitchError, UsageError
from rstitch_local.routing.spec import one_spelling, tau_of_spec, with_tau
from rstitch_local.sanitize import one_line
from rstitch_tui import actions, slash
from rstitch_tui.engine_thread import Answer
from rstitch_tui.keys import binding
from rstitch_tui.pacing import Pace, tidy
from rstitch_tui.session import Session
from rstitch_tui.store.records import Message
from rstitch_tui.widgets.composer import Composer
from rstitch_tui.widgets.footer import KeyFooter
from rstitch_tui.widgets.hints import Hints
from rstitch_tui.widgets.message_log import MessageLog
from rstitch_tui.widgets.message_view import MessageView
from rstitch_tui.widgets.routing import Routing
from rstitch_tui.widgets.tau_slider import TauSlider

if TYPE_CHECKING:
    from rstitch_tui.app import ChatApp

_TICK_S = 1 / 12
_LATE_STOP_S = 1.0


class ChatScreen(Screen[None]):
    """The chat."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("stop", "stop"),
        binding("new_chat", "slash('new')"),
        binding("chats", "slash('chats')"),
        binding("models", "slash('models')"),
        binding("toggle_tokens", "slash('tokens')"),
        binding("inspector", "slash('inspect')"),
        binding("regenerate", "slash('retry')"),
        binding("help", "slash('help')"),
        binding("chat_settings", "slash('chat')"),
        binding("toggle_thinking", "slash('thinking')"),
        binding("tau_down", "tau(-1)"),
        binding("tau_up", "tau(1)"),
        binding("again_at_another_tau", "slash('again')"),
        binding("edit_last", "slash('edit')"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (30, "-tall")]  # noqa: RUF012  as Textual declares it

    DEFAULT_CSS = """
    ChatScreen {
        layout: vertical;
        & #title { height: 1; background: $panel; color: $text; padding: 0 1; text-style: bold; }
        &.-short EntropyStrip { height: 2; }
        &.-tiny EntropyStrip, &.-tiny TauSlider { display: none; }
        &.-tiny Composer { min-height: 1; border: none; }
        &.-no-strip EntropyStrip { display: none; }
    }
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._ended_at = 0.0
        self.busy = ""
        """What the engine is doing besides answering, such as loading."""
        self._pace = Pace()
        self._drawing = asyncio.Lock()
        """Held while messages are put on the screen or taken from it: the end of an answer may come at any time."""

    @property
    def chat_app(self) -> ChatApp:
        """The app, by its own type."""
        from rstitch_tui.app import ChatApp

        assert isinstance(self.app, ChatApp)
        return self.app

    def compose(self) -> ComposeResult:
        """Title, messages, routing, composer, keys."""
        yield Static(id="title", markup=False)
        yield MessageLog(self._steps_of, id="log")
        yield Routing()
        yield Hints()
        yield Composer(id="composer")
        yield KeyFooter(compact=True, show_command_palette=False)

    async def on_mount(self) -> None:
        """Show the chat that is open."""
        settings = self.chat_app.settings
        self.log_view.unfolded = not settings.fold_thinking
        self.log_view.coloured = settings.coloured_tokens
        self.set_interval(_TICK_S, self._tick)
        self.composer.focus()
        with self.chat_app.telling():
            await self.show_chat()
        self.log_view.follow()

    def _steps_of(self, message_id: int) -> list[Step]:
        with self.chat_app.telling():
            trace = self.session.store.trace(message_id)
            return trace.steps if trace is not None else []
        return []

    @property
    def log_view(self) -> MessageLog:
        """The messages."""
        return self.query_one(MessageLog)

    @property
    def routing(self) -> Routing:
        """Strip, slider and figures."""
        return self.query_one(Routing)

    @property
    def composer(self) -> Composer:
        """Where one types."""
        return self.query_one(Composer)

    # What is shown

    async def show_chat(self) -> None:
        """Show the session's branch, and all that depends on the chat."""
        self.composer.sent_before = self.session.store.prompts(200)
        async with self._drawing:
            await self.log_view.show(self.session.path, self.branch_places())
        self.show_settings()
        self.show_routing(self.last_answer())

    def show_routing(self, answer: Message | None) -> None:
        """Strip and figures of an answer that was written; none without one."""
        trace = self.session.store.trace(answer.id) if answer is not None else None
        self.routing.show(trace, self.busy)

    @property
    def router(self) -> str:
        """The spec the chat's answers are routed by."""
        return self.session.settings.router or self.session.defaults.router

    def show_settings(self) -> None:
        """Title and tau, as the chat has them."""
        session, router = self.session, self.router
        pair = self.chat_app.pair_name or "no models"
        rest = f"  ·  {one_line(pair, 40)}  ·  {router}"
        title = one_line(session.title or "New chat", max(8, min(60, self.size.width - len(rest) - 2)))
        self.query_one("#title", Static).update(Content(title + rest))
        self.routing.set_tau(tau_of_spec(router), live=session.answer is not None)

    def branch_places(self) -> dict[int, tuple[int, int]]:
        """For each message with others beside it: its place among them, from 1, and their number."""
        found = {}
        for message in self.session.path:
            siblings = self.session.store.siblings(message)
            if len(siblings) > 1:
                found[message.id] = (siblings.index(message.id) + 1, len(siblings))
        return found

    def show_busy(self, what: str) -> None:
        """Say what the engine is doing besides answering."""
        self.busy = what
        if self.session.answer is None:
            self.routing.show_busy(what)

    def say(self, text: str, *, error: bool = False) -> None:
        """Tell the user something for a few seconds."""
        self.app.notify(text, severity="error" if error else "information", markup=False, timeout=8 if error else 4)

    # Answers

    async def begin(self) -> None:
        """An answer has just been asked for: show its question and make room for it."""
        self.log_view.current = None
        self.routing.begin()
        # Whatever cannot be shown: the answer that was asked for is written.
        with self.chat_app.telling():
            self.composer.sent_before = self.session.store.prompts(200)
            async with self._drawing:
                await self.log_view.show(self.session.path, self.branch_places())
            self.log_view.follow()
            self.show_settings()
        # Only when all this is drawn: drawing would hold up the first tokens.
        self.call_after_refresh(self._launch)

    def _launch(self) -> None:
        self._pace.begin()
        self.session.launch()

    async def _tick(self) -> None:
        """Draw what was written since, if drawing has not taken more than its share."""
        answer = self.session.answer
        if answer is None:
            tidy()
        elif not answer.ended and not self._drawing.locked() and self._pace.allows():
            async with self._drawing:
                await self._draw(answer, self.session.pump())
            self._pace.drawn()

    async def _draw(self, answer: Answer, steps: list[Step]) -> None:
        if self.session.writing is not None and steps:
            view = self.log_view.view(self.session.writing.id)
            if view is not None:
                view.opens_thinking = bool(answer.trace and answer.trace.settings.get("opens_thinking"))
                await view.extend(steps)
            self.chat_app.drawn(answer, steps)
        waiting = "" if answer.trace and answer.trace.steps else "…"
        self.routing.grow(steps, answer.trace, answer.context_used, busy=waiting)

    async def answer_ended(self, answer: Answer) -> None:
        """Keep the answer and draw it once more as a whole."""
        steps = self.session.pump(save=True) if answer is self.session.answer else []
        self.chat_app.drawn(answer, steps)
        message = self.session.conclude(answer)
        if not self.is_running:
            # The app is being left, and nothing of the screen is there any more.
            return
        if message is None or all(message.id != shown.id for shown in self.session.path):
            # The chat or the branch was left meanwhile.
            self.show_busy(self.busy)
            return
        self._ended_at = time.monotonic()
        if answer.trace is not None:
            self.routing.grow(steps, answer.trace, answer.context_used, answer.llm_alone_ms, self.busy)
        async with self._drawing:
            await self.log_view.finish(message, answer.trace)
        if not self.is_running:
            return
        self.show_settings()
        if (answer.trace is not None and answer.trace.stop == "length" and self._context_is_full(answer)) or isinstance(
            answer.error, PromptTooLongError
        ):
            self.chat_app.offer_room(message, answer.context_used)

    def _context_is_full(self, answer: Answer) -> bool:
        return any(used >= limit for used, limit in answer.context_used.values())

    @on(Composer.Sent)
    async def _sent(self, event: Composer.Sent) -> None:
        if event.text.startswith("/") and not event.text.startswith("//"):
            await slash.run(self, event.text)
            return
        if not self.chat_app.ready:
            self.composer.set_text(event.text)
            self.say(
                "The models are still being loaded."
                if self.chat_app.loading
                else "No models are loaded: /models chooses."
            )
            return
        text = event.text.removeprefix("/") if event.text[:2] == "//" else event.text
        if not await self.act(lambda: self.session.ask(text)) and not self.composer.text:
            self.composer.set_text(event.text)

    async def act(self, what: Callable[[], object]) -> bool:
        """Do something that begins an answer; show it, or what was wrong with it."""
        try:
            what()
        except (RStitchError, ValueError) as error:
            self.chat_app.tell(error)
            return False
        await self.begin()
        return True

    def last_answer(self) -> Message | None:
        """The answer the user means: the one with the focus, or the last."""
        focused = self.focused_message()
        if focused is not None and focused.role == "assistant":
            return focused
        return next((m for m in reversed(self.session.path) if m.role == "assistant"), None)

    def focused_message(self) -> Message | None:
        """The message the user is on."""
        view = self.log_view.current
        return next((m for m in self.session.path if view is not None and m.id == view.message_id), None)

    # Routing

    @on(TauSlider.Changed)
    def _tau(self, event: TauSlider.Changed) -> None:
        with self.chat_app.telling():
            self.set_tau(event.value)

    def set_tau(self, tau: float) -> None:
        """Another threshold, from the next token on and for the chat.

        Raises:
            UsageError: it is not between 0 and 1.
        """
        if not 0 <= tau <= 1:
            raise UsageError("Tau out of range", f"tau is {tau:g}; it goes from 0 (all LLM) to 1 (all SLM).")
        router = with_tau(self.router, tau)
        one_spelling(router)
        if self.session.answer is not None:
            self.session.answer.tau = tau
        try:
            self.session.change(router=router)
        finally:
            self.show_settings()

    def on_message_view_link_wanted(self, event: MessageView.LinkWanted) -> None:
        """A link is copied, not followed: who knows where a model wants to send people."""
        self.app.copy_to_clipboard(event.href)
        self.say(f"Copied: {one_line(event.href, 100)}")

    def on_message_view_focused(self) -> None:
        """Show the routing of the answer the user is on."""
        message = self.focused_message()
        if message is not None and message.role == "assistant" and self.session.answer is None:
            with self.chat_app.telling():
                self.show_routing(message)

    @on(Composer.Focused)
    def _typing(self) -> None:
        """Who types is at the end of the chat, whatever message was looked at before."""
        if self.log_view.current is not None:
            self.log_view.current = None
            if self.session.answer is None:
                with self.chat_app.telling():
                    self.show_routing(self.last_answer())

    @on(Composer.Changed)
    def _hint(self) -> None:
        """Say which commands there are while one is typed."""
        text = self.composer.text
        named = text.startswith("/") and not text.startswith("//") and not any(c.isspace() for c in text)
        found = slash.beginning_with(text[1:]) if named else []
        self.query_one(Hints).show([(command.usage, command.title) for command in found])
        self.composer.completion = f"/{found[0].name} " if found else ""

    # Keys

    async def action_slash(self, text: str) -> None:
        """Run a slash command, from wherever it was chosen."""
        await slash.run(self, text)

    def action_stop(self) -> None:
        """Stop the answer that is being written; else leave the prompt for the messages, or come back to it."""
        if self.chat_app.stop_work():
            return
        if self.composer.has_focus:
            # An Esc that was to stop an answer and came too late must not turn the next letters into actions.
            if time.monotonic() - self._ended_at > _LATE_STOP_S:
                self.log_view.walk(0)
        else:
            self.composer.focus()

    def action_walk(self, by: int) -> None:
        """Go to the message above or below."""
        self.log_view.walk(by)

    async def action_branch(self, by: int) -> None:
        """Show another branch at the message one is on."""
        with self.chat_app.telling():
            await actions.walk_branches(self, by)

    def action_tokens_here(self) -> None:
        """The message one is on token by token, or as Markdown."""
        view = self.log_view.current
        if view is not None:
            self.log_view.show_tokens_of(view, not view.as_tokens)

    def action_thinking_here(self) -> None:
        """Unfold or fold the thinking of the message one is on."""
        view = self.log_view.current
        if view is not None:
            view.unfolded = not view.unfolded

    def action_prompt(self, text: str = "") -> None:
        """Back to typing, with something to begin with."""
        self.composer.focus()
        if text:
            self.composer.set_text(text)

    def action_tau(self, direction: int) -> None:
        """A step up or down with tau."""
        with self.chat_app.telling():
            actions.tau_by(self, 1.5**direction)
