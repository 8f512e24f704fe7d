"""The main screen: the messages of the open chat, the routing panel and the prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message as Event
from textual.screen import Screen
from textual.widgets import Static

from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import one_line
from rstitch_tui import slash
from rstitch_tui.actions import answers, settings
from rstitch_tui.answer import Answer
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.chat_controller import ChatController
from rstitch_tui.chat_host import Dialogs
from rstitch_tui.keys import binding
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.session import Session
from rstitch_tui.slash_table import COMMANDS
from rstitch_tui.widgets.composer import Composer
from rstitch_tui.widgets.hints import Hints
from rstitch_tui.widgets.key_hints import KeyHints
from rstitch_tui.widgets.message_log import MessageLog
from rstitch_tui.widgets.message_view import MessageView
from rstitch_tui.widgets.routing_panel import RoutingPanel
from rstitch_tui.widgets.tau_slider import TauSlider

_TICK_S = 1 / 12
_LOW_ROWS = 30
"""Below this height the parts around the conversation take six rows."""
_LATE_STOP_S = 1.0
_TAU_STEP = 1.5


class ChatScreen(Screen[None]):
    """Layout, keys and events of the chat; the controller draws the session and starts answers."""

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
        binding("toggle_formulas", "slash('formulas')"),
        binding("toggle_thinking", "slash('thinking')"),
        binding("tau_down", "tau(-1)"),
        binding("tau_up", "tau(1)"),
        binding("again_at_another_tau", "slash('again')"),
        binding("edit_last", "edit_last"),
        binding("page_up", "page(-1)"),
        binding("page_down", "page(1)"),
        binding("command_palette", "palette"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (_LOW_ROWS, "-tall")]  # noqa: RUF012  declared as in Textual

    DEFAULT_CSS = """
    ChatScreen {
        layout: vertical;
        & #title { height: 1; background: $panel; color: $text; padding: 0 1; text-style: bold; }
        &.-short EntropyStrip { height: 1; }
        &.-tiny EntropyStrip { display: none; }
        &.-short Composer { min-height: 2; border: none; border-top: solid $foreground 25%; }
        &.-short Composer:focus { border-top: solid $foreground 60%; }
        &.-tiny Composer { min-height: 1; border: none; }
        &.-no-strip EntropyStrip { display: none; }
    }
    """

    class AnswerDrawn(Event):
        """New steps of an answer have been drawn."""

        def __init__(self, answer: Answer) -> None:
            super().__init__()
            self.answer = answer

    def __init__(self, session: Session, models: ModelLoader, dialogs: Dialogs, app_settings: AppSettings) -> None:
        super().__init__()
        self.controller = ChatController(self, session, models, dialogs)
        self._app_settings = app_settings
        self._completions: Sequence[slash.Completion] = ()
        self.set_class(not app_settings.show_strip, "-no-strip")

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        log = MessageLog(self._steps_of, id="log")
        log.unfolded = not self._app_settings.fold_thinking
        log.colored = self._app_settings.coloured_tokens
        yield log
        yield RoutingPanel()
        yield Hints()
        yield Composer(id="composer")
        yield KeyHints(self._app_settings.keymap)

    async def on_mount(self) -> None:
        self.set_interval(_TICK_S, self._tick)
        self.composer.focus()
        with self.controller.errors_shown():
            await self.controller.show_chat()
        self.controller.scroll_to_end()

    def _steps_of(self, message_id: int) -> list[Step]:
        with self.controller.errors_shown():
            trace = self.controller.session.store.trace(message_id)
            return trace.steps if trace is not None else []
        return []

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def log_view(self) -> MessageLog:
        return self.query_one(MessageLog)

    def on_resize(self, event: events.Resize) -> None:
        """Leave most rows of a low terminal to the conversation."""
        self.query_one(RoutingPanel).set_low(event.size.height < _LOW_ROWS)
        self.controller.show_settings()

    @on(events.DescendantFocus)
    def _focus_moved(self) -> None:
        self.controller.show_keys()

    async def _tick(self) -> None:
        answer = await self.controller.display.draw_new_steps()
        if answer is not None:
            self.post_message(self.AnswerDrawn(answer))

    # Events

    @on(Composer.Sent)
    async def _sent(self, event: Composer.Sent) -> None:
        if slash.is_command(event.text):
            self.controller.remember_command(event.text)
            if not await slash.run(self.controller, event.text) and not self.composer.text:
                self.composer.set_text(event.text)
            return
        text = event.text.removeprefix("/") if event.text.startswith("//") else event.text
        if not await answers.send(self.controller, text) and not self.composer.text:
            self.composer.set_text(event.text)

    @on(Composer.Changed)
    def _show_hints(self) -> None:
        self._completions = slash.completions(self.controller, self.composer.text)
        self.composer.set_completions([(each.text, each.complete) for each in self._completions])
        self._draw_hints(None)

    @on(Composer.CompletionSelected)
    def _completion_selected(self, event: Composer.CompletionSelected) -> None:
        self._draw_hints(event.index)

    def _draw_hints(self, selected: int | None) -> None:
        self.query_one(Hints).show([(each.label, each.title) for each in self._completions], selected)

    @on(Composer.Focused)
    def _prompt_focused(self) -> None:
        if self.log_view.current is not None:
            self.log_view.current = None
            self.controller.show_selected_routing()

    def on_message_view_focused(self) -> None:
        self.controller.show_keys()
        message = self.controller.focused_message()
        if message is not None and message.role == "assistant":
            self.controller.show_selected_routing()

    def on_message_view_link_clicked(self, event: MessageView.LinkClicked) -> None:
        # Links are copied, never opened: the URL was generated by a model.
        self.controller.copy(event.href)
        self.controller.notice(f"Copied: {one_line(event.href, 100)}")

    @on(TauSlider.Changed)
    def _tau_moved(self, event: TauSlider.Changed) -> None:
        with self.controller.errors_shown():
            settings.set_tau(self.controller, event.value)

    # Keys

    async def action_slash(self, text: str) -> None:
        """Run a slash command."""
        await slash.run(self.controller, text)

    def action_palette(self) -> None:
        """Search the commands."""

        async def done(name: str | None) -> None:
            if name is None:
                return
            command = COMMANDS[name]
            if command.complete:
                await slash.run(self.controller, f"/{name}")
            else:
                self.controller.focus_prompt(f"/{name} ")

        self.controller.dialogs.open_palette(done)

    def action_edit_last(self) -> None:
        """Edit the user's last message."""
        with self.controller.errors_shown():
            answers.edit_last_question(self.controller)

    def action_page(self, by: int) -> None:
        """Scroll the conversation by a page up (-1) or down (1)."""
        if by < 0:
            self.log_view.scroll_page_up(animate=False)
        else:
            self.log_view.scroll_page_down(animate=False)

    def action_stop(self) -> None:
        """Stop the answer or the loading; otherwise move between the prompt and the messages."""
        if self.controller.session.stop() or self.controller.models.cancel():
            return
        if not self.composer.has_focus:
            self.composer.focus()
        elif time.monotonic() - self.controller.ended_at > _LATE_STOP_S:
            # An Esc meant for an answer that has just ended must not turn the next letters into actions.
            self.log_view.walk(0)

    def action_walk(self, by: int) -> None:
        """Select the message above (-1) or below (1)."""
        self.log_view.walk(by)

    async def action_branch(self, by: int) -> None:
        """Show the next (1) or previous (-1) branch at the selected message."""
        with self.controller.errors_shown():
            await answers.switch_branch(self.controller, by)

    def action_tokens_here(self) -> None:
        """Show the selected message as tokens, or as Markdown again."""
        view = self.log_view.current
        if view is not None:
            self.log_view.show_tokens_of(view, not view.as_tokens)

    def action_formulas_here(self) -> None:
        """Show the formulas of the selected message as their source, or as Unicode again."""
        view = self.log_view.current
        if view is not None:
            view.formulas_as_source = not view.formulas_as_source

    def action_thinking_here(self) -> None:
        """Fold or unfold the thinking of the selected message."""
        view = self.log_view.current
        if view is not None:
            view.unfolded = not view.unfolded

    def action_export_here(self) -> None:
        """Export the selected answer as an HTML file after asking."""

        async def done(confirmed: bool | None) -> None:
            if confirmed:
                await slash.run(self.controller, "/export html")

        folder = one_line(Path.cwd(), 200)
        self.controller.dialogs.confirm(f"Write this answer as an HTML file into {folder}?", "Export", "Cancel", done)

    def action_prompt(self, text: str = "") -> None:
        """Return to the prompt."""
        self.controller.focus_prompt(text)

    def action_tau(self, direction: int) -> None:
        """Raise (1) or lower (-1) tau by one step."""
        with self.controller.errors_shown():
            settings.multiply_tau(self.controller, _TAU_STEP**direction)
