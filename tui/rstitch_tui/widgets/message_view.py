"""One message of a chat: a title, the thinking folded into a line, the text, and a notice.

Independent of the store, the engine and other messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message as Event
from textual.reactive import reactive
from textual.widgets import Markdown, Static

from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking, thinking_steps
from rstitch_local.sanitize import safe_text
from rstitch_tui.keys import binding
from rstitch_tui.widgets.message_body import MessageBody
from rstitch_tui.widgets.plain_text import as_steps
from rstitch_tui.widgets.thinking_view import ThinkingView


class MessageView(Vertical, can_focus=True):
    """A message, which may grow. With the focus it has keys for moving and for actions on the message.

    Args:
        message_id: id in the store.
        role: "user" or "assistant".
        prefix: text the answer was made to start with.
        text: the whole text with the prefix.
        opens_thinking: whether the chat template opened the thinking, so that the text starts inside it.
        finished: whether the text is complete.

    Attributes:
        steps: the tokens after the prefix, as far as they have been loaded.
        colored: whether models and entropies are shown when the message is shown as tokens.
        tau: the tau of the answer.
        clicked: whether the message got the focus by a click, so that letters are no actions.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("message_up", "screen.walk(-1)"),
        binding("message_down", "screen.walk(1)"),
        binding("branch_previous", "screen.branch(-1)"),
        binding("branch_next", "screen.branch(1)"),
        binding("message_edit", "letter('slash', 'edit')"),
        binding("message_regenerate", "letter('slash', 'retry')"),
        binding("message_copy", "letter('slash', 'copy')"),
        binding("message_copy_code", "letter('slash', 'code')"),
        binding("message_inspect", "letter('slash', 'inspect')"),
        binding("message_tokens", "letter('tokens_here')"),
        binding("message_formulas", "letter('formulas_here')"),
        binding("message_thinking", "letter('thinking_here')"),
        binding("message_export", "letter('export_here')"),
        binding("to_prompt", "screen.prompt"),
    ]

    DEFAULT_CSS = """
    MessageView {
        height: auto;
        padding: 0 1 0 1;
        margin: 0 0 1 0;
        border-left: blank;
        &:focus { border-left: outer $foreground 60%; background: $boost; }
        & > .title { color: $text-muted; height: 1; text-style: bold; }
        & > .notice { color: $text-warning; height: auto; display: none; }
        & > .notice.-shown { display: block; }
        & > .notice.-error { color: $text-error; }
        &.-user > .title { color: $foreground; }
    }
    """

    as_tokens: reactive[bool] = reactive(False)
    """Whether the message is shown token by token instead of as Markdown."""
    unfolded: reactive[bool] = reactive(False)
    """Whether the thinking is shown."""

    formulas_as_source: reactive[bool] = reactive(False)
    """Whether formulas are shown as their TeX source instead of as Unicode."""

    class Focused(Event):
        """The message got the focus."""

        def __init__(self, view: MessageView) -> None:
            super().__init__()
            self.view = view

    class LinkClicked(Event):
        """The user clicked a link of a model, which is never opened automatically."""

        def __init__(self, href: str) -> None:
            super().__init__()
            self.href = href

    def __init__(
        self,
        message_id: int,
        role: str,
        *,
        prefix: str = "",
        text: str = "",
        opens_thinking: bool = False,
        finished: bool = True,
    ) -> None:
        super().__init__(classes=f"-{role}")
        self.message_id = message_id
        self.role = role
        self.prefix = prefix
        self.text = safe_text(text)
        self.steps: list[Step] = []
        self.opens_thinking = opens_thinking
        self.finished = finished
        self.colored = True
        self.tau: float | None = None
        self._drawing = asyncio.Lock()
        self.clicked = False
        self._title = Static(classes="title", markup=False)
        self._thinking = ThinkingView()
        self._body = MessageBody()
        self._notice = Static(classes="notice", markup=False)

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._thinking
        yield self._body
        yield self._notice

    async def on_mount(self) -> None:
        await self._draw()

    def set_title(self, title: Content | str) -> None:
        """Set the line above the text."""
        self._title.update(title)

    def set_notice(self, notice: str, *, error: bool = False) -> None:
        """Set the line below the text; "" removes it."""
        self._notice.update(Content(safe_text(notice)))
        self._notice.set_class(bool(notice), "-shown")
        self._notice.set_class(error, "-error")

    async def extend(self, steps: Sequence[Step]) -> None:
        """Append tokens and draw them."""
        self.steps += steps
        self.text += safe_text("".join(step.text for step in steps))
        if self.is_mounted:
            await self._draw()

    async def show_text(self, text: str) -> None:
        """Set the text so far and draw it."""
        self.text = safe_text(text)
        await self._draw()

    async def finish(self, text: str, steps: Sequence[Step]) -> None:
        """Set the complete answer and draw it."""
        self.text, self.steps, self.finished = safe_text(text), list(steps), True
        await self._draw()

    async def _draw(self) -> None:
        """Draw what has changed, unless the message was removed: an answer may end after a change of the branch."""
        # The app draws new tokens while this widget handles keys: of two drawings at a time, one would be lost.
        async with self._drawing:
            if not self.is_attached:
                return
            if self.role == "user":
                await self._body.show_plain_text(self.text)
            elif self.as_tokens and self.steps:
                await self._thinking.show("", tokens=0, seconds=0.0, unfolded=False)
                await self._body.show_tokens(safe_text(self.prefix), self.steps, tau=self.tau, colored=self.colored)
            else:
                await self._draw_answer()

    async def _draw_answer(self) -> None:
        thinking, answer = split_thinking(self.text, self.opens_thinking, finished=self.finished)
        tokens = self._thinking_tokens() if thinking else 0
        seconds = sum(step.ms for step in self.steps[:tokens]) / 1e3
        await self._thinking.show(thinking, tokens=tokens, seconds=seconds, unfolded=self.unfolded)
        await self._body.show_text(answer, formulas_as_source=self.formulas_as_source)

    def _thinking_tokens(self) -> int:
        """Return the number of tokens in the thinking, without those of the prefix."""
        prefix = as_steps(self.prefix)
        return max(0, thinking_steps([*prefix, *self.steps], self.opens_thinking) - len(prefix))

    @on(events.Click, ".thinking-summary")
    def _toggle_thinking(self) -> None:
        self.unfolded = not self.unfolded

    def on_key(self, event: events.Key) -> None:
        """A slash starts a command in the prompt; after a click any letter is typed there."""
        if event.character == "/" or (self.clicked and event.is_printable):
            event.stop()
            event.prevent_default()
            self.app.call_later(self.screen.run_action, f"prompt({event.character!r})")

    def on_mouse_down(self) -> None:
        """Clicking, as to select text or to scroll, does not turn the next letters into actions."""
        self.clicked = True
        self.post_message(self.Focused(self))

    def on_blur(self) -> None:
        self.clicked = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Offer the actions of single letters only if the message was selected with the keyboard."""
        return action != "letter" or not self.clicked

    async def action_letter(self, action: str, *arguments: str) -> None:
        """Run an action of the screen that is bound to a single letter."""
        await self.screen.run_action(f"{action}({', '.join(map(repr, arguments))})")

    def on_focus(self) -> None:
        self.post_message(self.Focused(self))

    @on(Markdown.LinkClicked)
    def _link_clicked(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        self.post_message(self.LinkClicked(event.href))

    async def watch_as_tokens(self) -> None:
        if self.is_mounted:
            await self._draw()

    async def watch_formulas_as_source(self) -> None:
        if self.is_mounted:
            await self._draw()

    async def watch_unfolded(self) -> None:
        if self.is_mounted:
            await self._draw()
