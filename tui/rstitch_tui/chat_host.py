"""The interface of the chat for actions, so that they import neither the app nor a screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Request
from rstitch_tui.model_loader import ModelLoader
from rstitch_tui.session import Session
from rstitch_tui.store.records import Message

Branch = tuple[int, Role, int]
"""Where an answer branches: index of the step, the model and its token."""


class FoundChat(NamedTuple):
    """A chat to open and the message that a search found in it; None without a search or if its title was found."""

    chat_id: int
    message_id: int | None


class Dialogs(Protocol):
    """The screens over the chat. `done` receives the result when the screen is closed, None if it was cancelled."""

    def open_chats(self, words: str, done: Callable[[FoundChat | None], Awaitable[None]]) -> None:
        """List the chats that match `words`; the result is the chat to open."""

    def open_models(self) -> None:
        """List the pairs and load the chosen one."""

    def open_chat_settings(self, done: Callable[[dict[str, object] | None], None]) -> None:
        """Show the settings of the chat; the result holds the changed fields of ChatSettings."""

    def open_editor(self, heading: str, text: str, done: Callable[[str | None], Awaitable[None]]) -> None:
        """Edit a text; the result is the new text."""

    def open_inspector(self, request: Request, trace: Trace, done: Callable[[Branch | None], Awaitable[None]]) -> None:
        """Inspect the tokens of an answer; the result is where to branch."""

    async def open_comparison(self, old: Trace, router: str) -> Callable[[], object]:
        """Show an answer beside the one that is generated next; returns a function that closes the screen."""

    def open_context_full(
        self, used: Mapping[Role, tuple[int, int]], *, done: Callable[[str | None], Awaitable[None]]
    ) -> None:
        """Offer what to do about a full context; the result is "forget" or "reload"."""

    def open_palette(self, done: Callable[[str | None], Awaitable[None]]) -> None:
        """Search the slash commands; the result is the name of the chosen one."""

    def confirm(self, question: str, yes: str, no: str, done: Callable[[bool | None], Awaitable[None]]) -> None:
        """Ask a question with two answers; the result is True for `yes`."""

    def open_help(self) -> None:
        """Show keys and commands."""

    def themes(self) -> Sequence[str]:
        """Return the names of the themes."""

    def choose_theme(self, name: str) -> None:
        """Change the theme, or open the list of themes if `name` is empty; raises UsageError for an unknown one."""


class ChatHost(Protocol):
    """The chat that a command acts upon."""

    @property
    def session(self) -> Session: ...

    @property
    def models(self) -> ModelLoader: ...

    @property
    def dialogs(self) -> Dialogs: ...

    def notice(self, text: str, *, seconds: float = 4) -> None:
        """Show a notification."""

    def show_error(self, error: Exception) -> None:
        """Show an error as a notification."""

    def errors_shown(self) -> AbstractContextManager[None]:
        """Show errors that leave the block as notifications."""

    async def show_chat(self) -> None:
        """Draw the session's branch and settings."""

    def show_settings(self) -> None:
        """Draw the session's title, router and tau, and the state of the models."""

    def focus_prompt(self, text: str = "") -> None:
        """Return to the prompt; put `text` there if it is not empty."""

    async def focus_message(self, message_id: int) -> None:
        """Scroll to a message of the branch and select it."""

    def scroll_to_end(self) -> None:
        """Show the end of the chat and follow it."""

    def focused_message(self) -> Message | None:
        """Return the message with the focus."""

    def selected_answer(self) -> Message | None:
        """Return the answer with the focus, or else the last one."""

    async def request_answer(self, request: Callable[[], object]) -> bool:
        """Call `request`, which requests an answer of the session, and start it; returns whether that succeeded."""

    async def toggle_tokens(self) -> None:
        """Show all answers as tokens, or as Markdown again."""

    async def toggle_formulas(self) -> None:
        """Show the formulas of all answers as their source, or as Unicode again."""

    async def toggle_thinking(self) -> None:
        """Unfold or fold the thinking of all answers."""

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard."""

    async def quit(self) -> None:
        """Save everything and quit."""
