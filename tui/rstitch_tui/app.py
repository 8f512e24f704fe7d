"""The Textual app: brings the store, the engine thread and the screens together, and loads models.

Knows which pair is loaded and what the engine reports; what a chat is, is the session's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from rstitch_local import builtin, paths
from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.engine.machine import free_gpu_bytes
from rstitch_local.errors import InputError, RStitchError, StorageError, UsageError
from rstitch_local.sanitize import one_line
from rstitch_tui import app_settings, slash
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.downloads import Downloads
from rstitch_tui.engine_thread import (
    Answer,
    AnswerBegun,
    AnswerEnded,
    EngineThread,
    Loaded,
    LoadFailed,
    Loading,
    PairFacts,
    Unloaded,
)
from rstitch_tui.keys import binding
from rstitch_tui.pacing import keep_garbage_for_pauses, let_garbage_go
from rstitch_tui.screens.chat import ChatScreen
from rstitch_tui.session import Session
from rstitch_tui.store.records import Message
from rstitch_tui.store.store import Store

_GREETING = "Ask something below. / lists the commands, F1 the keys."
_FOR_EXAMPLE = (
    "For example: Leo has 101 stones. Emma has five times as many stones as Leo. How many stones do both have together?"
)
_NOT_LOSSLESS = (
    "Two models write together: where the small one (SLM) is unsure, the large one (LLM) takes over. What comes out is "
    "not the large model's own answer word for word; tau says how much of it you get."
)
_BAR_CELLS = 20
_HANG_UP_S = 2.0
_QUIT_S = 0.8
"""How long leaving waits for llama.cpp to come to the end of what it evaluates."""


@dataclass(frozen=True)
class Start:
    """What the command line asked for."""

    choice: PairChoice | None = None
    options: LoadOptions = field(default_factory=LoadOptions)
    router: str | None = None
    resume: bool = False


class ChatApp(App[None]):
    """The chat.

    Args:
        store: the chats.
        settings: the user's settings file.
        start: what the command line asked for.
    """

    TITLE = "rstitch"
    # Above, where they cover neither the prompt nor the figures.
    CSS = "ToastRack { dock: top; align: right top; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        binding("command_palette"),
        binding("quit", "leave"),
    ]

    def __init__(self, store: Store, settings: AppSettings | None = None, start: Start | None = None) -> None:
        super().__init__()
        self.settings = settings or AppSettings()
        self.start = start or Start()
        self.store = store
        self.engine = EngineThread(self.post_message)
        self.session = Session(store, self.engine)
        self.session.complain = self.tell
        self.downloads = Downloads(load_catalog())
        self.facts: PairFacts | None = None
        self.loading = ""
        """The name of the pair that is being loaded."""
        self.deleted: list[int] = []
        """Chats deleted since the start, oldest first."""
        self.keymap_in_force = self.settings.keymap
        self.set_keymap(self.keymap_in_force)
        self.chat_screen = ChatScreen(self.session)
        self.ended = True
        """Whether the engine's thread has come to its end; if not, the process must end without freeing anything."""

    @property
    def ready(self) -> bool:
        """Whether a pair is loaded."""
        return self.facts is not None

    @property
    def pair_name(self) -> str:
        """The pair that is loaded, or being loaded; "" for none."""
        return self.facts.choice.name if self.facts is not None else self.loading

    def on_mount(self) -> None:
        """Paint first, load then."""
        keep_garbage_for_pauses()
        theme = self.settings.theme or self.recall("theme")
        self.theme = theme if theme in self.available_themes else "textual-dark"
        self.theme_changed_signal.subscribe(self, lambda theme: self.remember("theme", theme.name))
        self._end_with_the_terminal()
        if self.start.router is not None or self.settings.router is not None:
            self.session.begin_with(router=self.start.router or self.settings.router)
        last = self.recall("chat")
        if self.start.resume and last is not None:
            with self.telling():
                self.session.open(int(last))
        self.push_screen(self.chat_screen)
        self.call_after_refresh(self._first_load)

    def on_unmount(self) -> None:
        """The screen is given back."""
        let_garbage_go()

    def _first_load(self) -> None:
        with self.telling():
            self.store.purge()
        self.chat_screen.set_class(not self.settings.show_strip, "-no-strip")
        choice = self.start.choice
        names = [self.session.settings.pair, self.settings.pair, self.recall("pair"), None]
        for name in names if choice is None else []:
            try:
                choice = choose_pair(name)
                break
            except RStitchError:
                # A pair that was deleted meanwhile: the next best.
                continue
        if choice is None:
            self.open_models()
        else:
            self._load(choice, self.start.options)

    # Models

    def load_pair(self, name: str, *, quietly: bool = False) -> None:
        """Load a pair of the catalogue; where that is not possible `quietly` keeps the one that is loaded."""
        try:
            self._load(choose_pair(name), self.start.options)
        except RStitchError as error:
            if quietly:
                self.notify(f"This chat was written by {one_line(name)}, which is not here.", markup=False)
            else:
                self.tell(error)

    def reload(self, *, context: int) -> None:
        """Load the pair that is loaded once more, with caches of another size.

        Raises:
            InputError: no pair is loaded, or the models were not trained on so many tokens.
        """
        if self.facts is None:
            raise InputError("No models are loaded", "There is nothing to load again.")
        limit = self.facts.context_limit
        if not 16 <= context <= limit:
            raise InputError("Context out of range", f"{context} is not between 16 and {limit:,} tokens.")
        self._load(self.facts.choice, replace(self.facts.options, context=context))

    def unload(self) -> None:
        """Free the models' memory."""
        self.facts = None
        self.engine.unload()

    def open_models(self) -> None:
        """The screen of models."""
        from rstitch_tui.screens.models import ModelsScreen

        def chosen(choice: PairChoice | None) -> None:
            if choice is not None:
                self._load(choice, self.start.options)

        screen = ModelsScreen(self.downloads, loaded=self.pair_name or None, gpu_free=free_gpu_bytes(shared=False))
        self.push_screen(screen, chosen)

    def on_models_screen_unload(self) -> None:
        """The user wants the memory back."""
        self.unload()

    def _load(self, choice: PairChoice, options: LoadOptions) -> None:
        self.facts = None
        self.loading = choice.name
        self.engine.load(choice, options)
        self.chat_screen.show_busy(f"Loading {choice.name}")
        self.chat_screen.show_settings()

    def on_loading(self, event: Loading) -> None:
        """Show how far loading is."""
        done = round(event.share * _BAR_CELLS)
        bar = "━" * done + "─" * (_BAR_CELLS - done)
        self.chat_screen.show_busy(f"Loading {self.loading}: {event.role.name} {bar} {event.share:.0%} · Esc cancels")

    def on_loaded(self, event: Loaded) -> None:
        """A pair takes questions."""
        self.facts, self.loading = event.facts, ""
        choice = event.facts.choice
        self.session.defaults = choice.defaults
        self.session.begin_with(pair=choice.name)
        with self.telling():
            if self.session.chat is not None:
                self.session.change(pair=choice.name)
        self.remember("pair", choice.name)
        self.chat_screen.show_busy("")
        self.chat_screen.show_settings()
        if event.facts.notice is not None:
            self.notify(event.facts.notice, markup=False, timeout=10)
        demo = choice.slm == builtin.SLM_FILE
        pair = [f"{builtin.GREETING} {_FOR_EXAMPLE}"] if demo else []
        self.chat_screen.log_view.greet("\n\n".join([*pair, _NOT_LOSSLESS, _GREETING]))

    def on_load_failed(self, event: LoadFailed) -> None:
        """Loading failed or was cancelled: the chat stays."""
        self._without_models()
        self.tell(event.error)

    def on_unloaded(self, _event: Unloaded) -> None:
        """The memory is free."""
        if not self.loading:
            self._without_models()

    def _without_models(self) -> None:
        self.facts, self.loading = None, ""
        self.chat_screen.show_busy("No models are loaded: /models chooses.")
        self.chat_screen.show_settings()

    # Answers

    def on_answer_begun(self, _event: AnswerBegun) -> None:
        """Remember where one is."""
        if self.session.chat is not None:
            self.remember("chat", str(self.session.chat.id))

    async def on_answer_ended(self, event: AnswerEnded) -> None:
        """Keep and show it."""
        with self.telling():
            await self.chat_screen.answer_ended(event.answer)
        self._to_compare([], event.answer)

    def drawn(self, answer: Answer, steps: Sequence[Step]) -> None:
        """Steps were drawn in the chat; a screen that shows the same answer wants them too."""
        if steps:
            self._to_compare(steps, answer)

    def _to_compare(self, steps: Sequence[Step], answer: Answer) -> None:
        from rstitch_tui.screens.compare import CompareScreen

        screen = self.screen
        if isinstance(screen, CompareScreen):
            if steps:
                screen.extend(steps, answer.trace)
            if answer.ended:
                screen.finish(answer.trace, answer.error.message if answer.error else "")

    def offer_room(self, message: Message, used: dict[Role, tuple[int, int]]) -> None:
        """The context is full: let the user choose what to do."""
        from rstitch_tui.screens.room import RoomScreen, larger_context

        facts = self.facts
        if facts is None:
            return
        questions = [m for m in self.session.path if m.role == "user" and m.id >= (self.session.settings.first or 0)]

        async def chosen(choice: str | None) -> None:
            with self.telling():
                if choice == "drop":
                    dropped = self.session.drop_oldest()
                    self.notify(f"The first {dropped} turns are no longer sent.", markup=False)
                elif choice == "raise":
                    self.reload(context=larger_context(used, facts.context_limit) or facts.context_limit)
                else:
                    return
                if message.error:
                    await self.chat_screen.act(self.session.answer_last)
                else:
                    await self.chat_screen.act(partial(self.session.go_on, message))

        used = used or {role: (limit, limit) for role, limit in facts.context.items()}
        self.push_screen(RoomScreen(used, facts.context_limit, can_drop=len(questions) > 1), chosen)

    # The app itself

    def get_system_commands(self, screen: Screen[object]) -> Iterator[SystemCommand]:
        """The palette: every slash command, and Textual's own."""
        if screen is self.chat_screen:
            for command in slash.COMMANDS.values():
                if command.needs:
                    fill = partial(self.chat_screen.composer.set_text, f"/{command.name} ")
                    yield SystemCommand(command.title, command.usage, fill)
                else:
                    yield SystemCommand(command.title, command.usage, partial(self._run_command, command.name))

    async def _run_command(self, name: str) -> None:
        await self.chat_screen.action_slash(name)

    def choose_theme(self, name: str) -> None:
        """Change the colours; without a name by choosing from a list."""
        if not name:
            self.action_change_theme()
        elif name in self.available_themes:
            self.theme = name
        else:
            raise UsageError("No such theme", f"There is no theme {one_line(name, 30)!r}.", "/theme lists them.")

    def write_settings(self) -> None:
        """Write a settings file with every field explained, unless there is one, and say where it is."""
        path: Path = paths.settings_file()
        fresh = app_settings.write_template(path)
        self.notify(f"{'Written' if fresh else 'It is there already'}: {path}", markup=False, timeout=10)

    async def action_leave(self) -> None:
        """Quit."""
        await self.leave()

    def stop_work(self) -> bool:
        """Stop the answer that is being written, or else give up loading; whether there was either."""
        if self.session.answer is not None:
            self.session.stop()
        elif self.loading:
            self.engine.cancel_load()
        else:
            return False
        return True

    def action_help_quit(self) -> None:
        """Ctrl-C where nothing is selected: as in a shell it stops what goes on; it does not end the app."""
        if not self.stop_work():
            keys = self.keymap_in_force.get("quit", "ctrl+q").split(",")
            self.notify(f"{' or '.join(map(self._key_name, keys))} quits.", markup=False)

    def _key_name(self, key: str) -> str:
        return "+".join(part.capitalize() for part in key.split("+"))

    def _end_with_the_terminal(self) -> None:
        """A window that is closed, or a `kill`, ends the chat like its key does: what is written is kept."""
        if self.is_headless:
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Windows has no handlers in its loop.
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.call_later, self.leave)

        def hang_up(*_signal: object) -> None:
            # Textual may wait for ever to draw where no terminal is left; what was saved by then is kept.
            end = threading.Timer(_HANG_UP_S, os._exit, [128 + 1])
            end.daemon = True
            end.start()
            loop.call_soon_threadsafe(self.call_later, self.leave)

        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, hang_up)

    def tell(self, error: Exception) -> None:
        """Tell the user what is wrong."""
        said, title = str(error), ""
        if isinstance(error, RStitchError):
            said, title = f"{error.message} {error.hint}".strip(), error.title
        self.notify(one_line(said, 1000), title=title, severity="error", markup=False, timeout=10)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong in the block ends the block, and is told; it does not end the app."""
        try:
            yield
        except (RStitchError, ValueError) as error:
            self.tell(error)

    def remember(self, key: str, value: str) -> None:
        """Keep a small thing for the next start, if it can be kept: no chat depends on it."""
        with suppress(StorageError):
            self.store.set_state(key, value)

    def recall(self, key: str) -> str | None:
        """A small thing an earlier start kept."""
        with suppress(StorageError):
            return self.store.get_state(key)
        return None

    async def leave(self) -> None:
        """Stop what is being written, keep it, and quit: within a second."""
        begun = time.monotonic()
        self.downloads.close()
        self.session.stop()
        self.session.pump(save=True)
        self.ended = self.engine.close(_QUIT_S)
        answer = self.session.answer
        if answer is not None and answer.trace is not None:
            if answer.trace.stop is None:
                answer.trace.stop = "interrupted"
            self.session.conclude(answer)
        self.log(f"left within {time.monotonic() - begun:.2f} s")
        if self.session.settle():
            self.exit()
        else:
            self.exit(return_code=StorageError.exit_code, message=Text("The last answers could not be saved whole."))
