"""The Textual app: connects the store, the engine thread, the session and the screens."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import BindingType

from rstitch_local import builtin
from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.errors import StorageError
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.app_state import AppState
from rstitch_tui.dialogs import ChatDialogs
from rstitch_tui.downloads import Downloads
from rstitch_tui.engine_events import AnswerEnded, Loaded, LoadFailed, Loading, Unloaded
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.exit_signals import quit_on_signals
from rstitch_tui.keys import binding
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.notices import errors_shown, show_error
from rstitch_tui.pacing import defer_garbage_collection, restore_garbage_collection
from rstitch_tui.screens.chat import ChatScreen
from rstitch_tui.session import Session
from rstitch_tui.store.store import Store

_EXAMPLE = (
    "For example: Leo has 101 stones. Emma has five times as many stones as Leo. How many stones do both have together?"
)
_NOT_LOSSLESS = (
    "Two models generate one answer: where the small model (SLM) is uncertain, the large model (LLM) takes over. The "
    "result is not identical to the answer of the LLM alone; tau sets the share of the LLM."
)
_GREETING = "Type a question below. / lists the commands, F1 the keys."
_QUIT_S = 0.8
"""Seconds that quitting waits for the current evaluation of llama.cpp."""


@dataclass(frozen=True)
class Start:
    """Options of the command line."""

    choice: PairChoice | None = None
    options: LoadOptions = field(default_factory=LoadOptions)
    router: str | None = None
    resume: bool = False


class ChatApp(App[None]):
    """The chat.

    Args:
        store: the chats.
        settings: the user's settings file.
        start: options of the command line.

    Attributes:
        ended: whether the engine thread has ended; if not, the process must exit without freeing anything.
    """

    TITLE = "rstitch"
    # The chat has a palette of its own, which finds the commands by name.
    ENABLE_COMMAND_PALETTE = False
    # At the top, where notifications cover neither the prompt nor the routing panel.
    # The accent color means the LLM and nothing else.
    CSS = """
    ToastRack { dock: top; align: right top; }
    FooterKey .footer-key--key { color: $foreground; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [binding("quit")]

    def __init__(self, store: Store, settings: AppSettings | None = None, start: Start | None = None) -> None:
        super().__init__()
        self.settings = settings or AppSettings()
        self.start = start or Start()
        self.store = store
        self.ended = True
        self.engine = EngineThread(self.post_message)
        trusted = self.start.options.trust_models or self.settings.trust_models
        self.models = ModelLoader(self.engine, replace(self.start.options, trust_models=trusted))
        self.session = Session(store, self.engine)
        self.session.saver.on_error = partial(show_error, self)
        self.downloads = Downloads(load_catalog())
        self._state = AppState(store)
        self.session.on_opened = lambda chat_id: self._state.set("chat", str(chat_id))
        self._keymap_in_use = self.settings.keymap
        self.set_keymap(self._keymap_in_use)
        self.dialogs = ChatDialogs(
            self, self.session, self.models, self.downloads, self.engine, self._keymap_in_use, self.load
        )
        self.chat_screen = ChatScreen(self.session, self.models, self.dialogs, self.settings)

    def on_mount(self) -> None:
        defer_garbage_collection()
        theme = self.settings.theme or self._state.get("theme")
        self.theme = theme if theme in self.available_themes else "textual-dark"
        self.theme_changed_signal.subscribe(self, lambda theme: self._state.set("theme", theme.name))
        if not self.is_headless:
            quit_on_signals(lambda: self.call_later(self.leave))
        router = self.start.router or self.settings.router
        if router is not None:
            self.session.set_defaults(router=router)
        last_chat = self._state.get("chat")
        if self.start.resume and last_chat is not None:
            with errors_shown(self):
                self.session.open(int(last_chat))
        self.push_screen(self.chat_screen)
        # Loading starts after the first paint.
        self.call_after_refresh(self._first_load)

    def on_unmount(self) -> None:
        restore_garbage_collection()

    def _first_load(self) -> None:
        with errors_shown(self):
            self.store.purge()
        names = (self.session.settings.pair, self.settings.pair, self._state.get("pair"), None)
        if self.start.choice is not None:
            self.load(self.start.choice)
        elif self.models.load_first_available(names):
            self.chat_screen.controller.show_settings()
        else:
            self.models.on_unavailable()
            self.chat_screen.controller.show_settings()
            self.dialogs.open_models()

    # Models

    def load(self, choice: PairChoice) -> None:
        """Start loading a pair."""
        self.models.load(choice)
        self.chat_screen.controller.show_settings()

    def on_models_screen_unload(self) -> None:
        self.models.unload()

    def on_loading(self, event: Loading) -> None:
        self.models.on_progress(event)
        self.chat_screen.controller.display.show_status()

    def on_loaded(self, event: Loaded) -> None:
        choice = event.pair.choice
        self.models.on_loaded(event.pair)
        with errors_shown(self):
            self.session.use_pair(choice)
        self._state.set("pair", choice.name)
        self.chat_screen.controller.show_settings()
        if event.pair.notice is not None:
            self.notify(event.pair.notice, markup=False, timeout=10)
        example = [f"{builtin.GREETING} {_EXAMPLE}"] if choice.slm == builtin.SLM_FILE else []
        self.chat_screen.log_view.set_greeting("\n\n".join([*example, _NOT_LOSSLESS, _GREETING]))

    def on_load_failed(self, event: LoadFailed) -> None:
        self.models.on_unavailable()
        self.chat_screen.controller.show_settings()
        show_error(self, event.error)

    def on_unloaded(self, _event: Unloaded) -> None:
        self.models.on_unloaded()
        self.chat_screen.controller.show_settings()

    # Answers

    async def on_answer_ended(self, event: AnswerEnded) -> None:
        with errors_shown(self):
            await self.chat_screen.controller.answer_ended(event.answer)
        self.dialogs.update_comparison(event.answer)

    def on_chat_screen_answer_drawn(self, event: ChatScreen.AnswerDrawn) -> None:
        self.dialogs.update_comparison(event.answer)

    # The app itself

    def action_help_quit(self) -> None:
        """Ctrl-C without a selection: stop the answer or the loading, but do not quit."""
        if not (self.session.stop() or self.models.cancel()):
            keys = self._keymap_in_use.get("quit", "ctrl+q").split(",")
            names = ["+".join(part.capitalize() for part in key.split("+")) for key in keys]
            self.notify(f"{' or '.join(names)} quits.", markup=False)

    async def action_quit(self) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Stop and save the current answer, and quit within a second."""
        started = time.monotonic()
        self.downloads.close()
        self.session.stop()
        self.session.take_steps(save=True)
        self.ended = self.engine.close(_QUIT_S)
        answer = self.session.answer
        if answer is not None and answer.trace is not None:
            if answer.trace.stop is None:
                answer.trace.stop = "interrupted"
            self.session.finish_answer(answer)
        self.log(f"left within {time.monotonic() - started:.2f} s")
        if self.session.saver.save_pending():
            self.exit()
        else:
            self.exit(return_code=StorageError.exit_code, message=Text("The last answers could not be saved."))
