"""Opens the screens over the chat: the implementation of `chat_host.Dialogs`, used by the app only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from textual.app import App

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.machine import free_gpu_bytes
from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Answer, Request
from rstitch_tui.chat_host import Branch, FoundChat
from rstitch_tui.downloads import Downloads
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.screens.chat_settings import ChatSettingsScreen
from rstitch_tui.screens.chats import ChatsScreen
from rstitch_tui.screens.compare import CompareScreen
from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.context_full import ContextFullScreen
from rstitch_tui.screens.edit import EditScreen
from rstitch_tui.screens.help import HelpScreen
from rstitch_tui.screens.inspector import InspectorScreen
from rstitch_tui.screens.models import ModelsScreen
from rstitch_tui.screens.palette import PaletteScreen
from rstitch_tui.session import Session


class ChatDialogs:
    """The screens of one app.

    Args:
        app: the app.
        session: the open chat.
        models: the state of the models.
        downloads: the downloads of pairs.
        engine: the engine thread, for the inspector.
        keymap: the user's keys, for the help.
        load: loads the pair chosen in the list of models.
    """

    def __init__(
        self,
        app: App[Any],
        session: Session,
        models: ModelLoader,
        downloads: Downloads,
        engine: EngineThread,
        keymap: Mapping[str, str],
        load: Callable[[PairChoice], object],
    ) -> None:
        self._app = app
        self._session = session
        self._models = models
        self._downloads = downloads
        self._engine = engine
        self._keymap = keymap
        self._load = load

    def open_chats(self, words: str, done: Callable[[FoundChat | None], Awaitable[None]]) -> None:
        self._app.push_screen(ChatsScreen(self._session.store, self._session.deleted, words), done)

    def open_models(self) -> None:
        def done(choice: PairChoice | None) -> None:
            if choice is not None:
                self._load(choice)

        loaded = self._models.pair_name or None
        self._app.push_screen(ModelsScreen(self._downloads, loaded=loaded, gpu_free=free_gpu_bytes(shared=False)), done)

    def open_chat_settings(self, done: Callable[[dict[str, object] | None], None]) -> None:
        switch = self._models.loaded is not None and self._models.loaded.thinking_switch
        self._app.push_screen(ChatSettingsScreen(self._session.settings, self._session.defaults, switch), done)

    def open_editor(self, heading: str, text: str, done: Callable[[str | None], Awaitable[None]]) -> None:
        self._app.push_screen(EditScreen(heading, text), done)

    def open_inspector(self, request: Request, trace: Trace, done: Callable[[Branch | None], Awaitable[None]]) -> None:
        self._app.push_screen(InspectorScreen(self._engine, request, trace), done)

    async def open_comparison(self, old: Trace, router: str) -> Callable[[], object]:
        screen = CompareScreen(old, router, self._engine.stop)
        await self._app.push_screen(screen)
        return lambda: screen.dismiss(None)

    def update_comparison(self, answer: Answer) -> None:
        """Draw the new answer on the comparison, if it is open."""
        screen = self._app.screen
        if isinstance(screen, CompareScreen):
            screen.show(answer.trace)
            if answer.ended:
                screen.finish(answer.error.message if answer.error else "")

    def open_context_full(
        self, used: Mapping[Role, tuple[int, int]], *, done: Callable[[str | None], Awaitable[None]]
    ) -> None:
        limit = self._models.loaded.context_limit if self._models.loaded is not None else 0
        can_forget = len(self._session.questions_in_context()) > 1
        self._app.push_screen(ContextFullScreen(used, limit, can_forget=can_forget), done)

    def open_help(self) -> None:
        self._app.push_screen(HelpScreen(self._keymap))

    def confirm(self, question: str, yes: str, no: str, done: Callable[[bool | None], Awaitable[None]]) -> None:
        self._app.push_screen(ConfirmScreen(question, yes, no), done)

    def open_palette(self, done: Callable[[str | None], Awaitable[None]]) -> None:
        self._app.push_screen(PaletteScreen(self._keymap), done)

    def themes(self) -> Sequence[str]:
        return sorted(self._app.available_themes)

    def choose_theme(self, name: str) -> None:
        if not name:
            self._app.action_change_theme()
        elif name in self._app.available_themes:
            self._app.theme = name
        else:
            raise UsageError("Unknown theme", f"There is no theme {one_line(name, 30)!r}.", "/theme lists the themes.")
