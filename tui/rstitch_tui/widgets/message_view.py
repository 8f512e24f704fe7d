"""One message of a chat: who speaks, the thinking folded to a line, the text as Markdown or token by token.

Knows how a message looks while it grows and when it is finished; nothing of the store, the engine or other messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message as Event
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Markdown, Static

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking, thinking_steps
from rstitch_local.sanitize import safe_text
from rstitch_tui.keys import binding
from rstitch_tui.markdown import cost, parser
from rstitch_tui.widgets.token_view import TokenView

_LONGEST_LINE = 2000
_MOST_COST = 200
"""A text with longer lines, or that costs more, is not drawn as Markdown: nobody could type meanwhile."""


class MessageView(Vertical, can_focus=True):
    """A message that can grow. Walked and acted upon by keys when it has the focus.

    Args:
        message_id: of the store.
        who: "user" or "assistant".
        prefix: what the user gave the answer to begin with.
        text: all of the text, prefix included.
        opens_thinking: the template had opened the thinking, so the text begins inside it.
        finished: no more is to come.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        binding("message_up", "screen.walk(-1)"),
        binding("message_down", "screen.walk(1)"),
        binding("branch_previous", "screen.branch(-1)"),
        binding("branch_next", "screen.branch(1)"),
        binding("message_edit", "screen.slash('edit')"),
        binding("message_regenerate", "screen.slash('retry')"),
        binding("message_copy", "screen.slash('copy')"),
        binding("message_copy_code", "screen.slash('code')"),
        binding("message_inspect", "screen.slash('inspect')"),
        binding("message_tokens", "screen.tokens_here"),
        binding("message_thinking", "screen.thinking_here"),
        binding("message_export", "screen.slash('export html')"),
        binding("to_prompt", "screen.prompt"),
    ]

    DEFAULT_CSS = """
    MessageView {
        height: auto;
        padding: 0 1 0 1;
        margin: 0 0 1 0;
        border-left: blank;
        &:focus { border-left: outer $accent; background: $boost; }
        & > .title { color: $text-muted; height: 1; text-style: bold; }
        & > .notice { color: $text-warning; height: auto; display: none; }
        & > .notice.-shown { display: block; }
        & > .notice.-error { color: $text-error; }
        & > .thinking { color: $text-muted; height: 1; display: none; }
        & > .thinking.-shown { display: block; }
        & > .thought { color: $text-muted; height: auto; padding-left: 2; }
        & > .plain { height: auto; }
        & > Markdown { height: auto; padding: 0; margin: 0; background: transparent; }
        & > Markdown > .-end { margin-bottom: 0; }
        &.-user > .title { color: $text-accent; }
    }
    """

    as_tokens: reactive[bool] = reactive(False)
    """Shown token by token instead of as Markdown."""
    unfolded: reactive[bool] = reactive(False)
    """Whether the thinking is shown."""

    class Focused(Event):
        """The user is on this message now."""

        def __init__(self, view: MessageView) -> None:
            super().__init__()
            self.view = view

    class LinkWanted(Event):
        """The user clicked a link a model wrote: it is shown, never opened by itself."""

        def __init__(self, href: str) -> None:
            super().__init__()
            self.href = href

    def __init__(
        self,
        message_id: int,
        who: str,
        *,
        prefix: str = "",
        text: str = "",
        opens_thinking: bool = False,
        finished: bool = True,
    ) -> None:
        super().__init__(classes=f"-{who}")
        self.message_id = message_id
        self.who = who
        self.prefix = prefix
        self.text = safe_text(text)
        self.steps: list[Step] = []
        self.opens_thinking = opens_thinking
        self.finished = finished
        self.colored = True
        self.tau: float | None = None
        """The threshold it was written at: uncertainty from there on is drawn at full strength."""
        self._shown = ""
        self._tokens: TokenView | None = None
        self._body: Markdown | Static | TokenView | None = None
        self._thought: TokenView | None = None
        self._title = Static(classes="title", markup=False)
        self._thinking = Static(classes="thinking", markup=False)
        self._notice = Static(classes="notice", markup=False)

    def compose(self) -> ComposeResult:
        """The title; the body comes once it is known how it is shown."""
        yield self._title
        yield self._thinking
        yield self._notice

    async def on_mount(self) -> None:
        """Show what is there."""
        await self.redraw()

    def set_title(self, title: Content | str) -> None:
        """The line above the text."""
        self._title.update(title)

    def set_notice(self, notice: str, *, error: bool = False) -> None:
        """The line below the text, with what the reader should know of it; "" for none."""
        self._notice.update(Content(safe_text(notice)))
        self._notice.set_class(bool(notice), "-shown")
        self._notice.set_class(error, "-error")

    async def extend(self, steps: Sequence[Step]) -> None:
        """Add what was written since; drawn at once."""
        self.steps += steps
        self.text += safe_text("".join(step.text for step in steps))
        if self._tokens is not None:
            self._tokens.extend(steps)
        elif self.is_mounted:
            await self._draw_text()

    async def finish(self, text: str, steps: Sequence[Step]) -> None:
        """The answer is complete: draw it once more as a whole."""
        self.text, self.steps, self.finished = safe_text(text), list(steps), True
        await self.redraw()

    async def redraw(self) -> None:
        """Draw the whole message anew, if it is still there: a branch may be left while its answer ends."""
        if not self.is_attached:
            return
        for old in (self._body, self._thought, self._tokens):
            if old is not None:
                await old.remove()
        self._body = self._thought = self._tokens = None
        self._shown = ""
        if self.who == "assistant" and self.as_tokens and self.steps:
            if self.prefix:
                # What the user gave it to begin with is no model's: it stands above, without a colour.
                await self._draw_plain(safe_text(self.prefix))
            self._tokens = TokenView()
            self._tokens.tau = self.tau
            self._tokens.colored = self.colored
            await self._put(self._tokens, before=self._notice)
            self._tokens.show(self.steps)
            self._draw_thinking("", 0)
        else:
            await self._draw_text()

    async def _put(self, widget: Widget, *, before: Widget | None = None, after: Widget | None = None) -> None:
        if self.is_attached:
            await self.mount(widget, before=before, after=after)

    async def _draw_text(self) -> None:
        """Bring the text on screen up to date with what is there of it."""
        if self.who == "user":
            thinking, said = "", self.text
        else:
            thinking, said = split_thinking(self.text, self.opens_thinking, finished=self.finished)
        await self._draw_thought(thinking)
        plain = (
            self.who == "user"
            or any(len(line) > _LONGEST_LINE for line in said.splitlines())
            or cost(said) > _MOST_COST
        )
        if plain:
            await self._draw_plain(said)
        else:
            await self._draw_markdown(said)
        self._shown = said

    async def _draw_plain(self, said: str) -> None:
        if not isinstance(self._body, TokenView):
            if self._body is not None:
                await self._body.remove()
            self._body = TokenView(classes="plain")
            self._body.colored = False
            await self._put(self._body, before=self._notice)
            self._shown = ""
        if said.startswith(self._shown):
            self._body.extend(_as_steps(said[len(self._shown) :]))
        else:
            self._body.show(_as_steps(said))

    async def _draw_markdown(self, said: str) -> None:
        if not isinstance(self._body, Markdown):
            if self._body is not None:
                await self._body.remove()
            self._body = Markdown(parser_factory=parser, open_links=False)
            await self._put(self._body, before=self._notice)
            self._shown = ""
        if self._shown and said.startswith(self._shown):
            if len(said) > len(self._shown):
                await self._body.append(said[len(self._shown) :])
        elif said != self._shown:
            await self._body.update(said)
        # Not by :last-child, for which every block would be styled anew with each that is added.
        for block in self._body.children:
            block.set_class(block is self._body.children[-1], "-end")

    async def _draw_thought(self, thinking: str) -> None:
        given = _as_steps(self.prefix)
        count = thinking_steps([*given, *self.steps], self.opens_thinking) - len(given) if thinking else 0
        self._draw_thinking(thinking, count)
        if not (self.unfolded and thinking):
            if self._thought is not None:
                await self._thought.remove()
                self._thought = None
        elif self._thought is None:
            self._thought = TokenView(classes="thought")
            self._thought.colored = False
            await self._put(self._thought, after=self._thinking)
            self._thought.show(_as_steps(thinking))
        elif thinking.startswith(self._thought.text):
            self._thought.extend(_as_steps(thinking[len(self._thought.text) :]))
        else:
            self._thought.show(_as_steps(thinking))

    def _draw_thinking(self, thinking: str, count: int) -> None:
        """The line the thinking is folded to."""
        self._thinking.set_class(bool(thinking), "-shown")
        if thinking:
            seconds = sum(step.ms for step in self.steps[:count]) / 1e3
            figures = f"{count:,} tokens, {seconds:.1f} s" if count else f"{len(thinking):,} characters"
            sign = "▾" if self.unfolded else "▸"
            self._thinking.update(Content(f"{sign} Thought: {figures}"))

    @on(events.Click, ".thinking")
    def _toggle(self) -> None:
        self.unfolded = not self.unfolded

    def on_key(self, event: events.Key) -> None:
        """A command begins, wherever one is."""
        if event.character == "/":
            event.stop()
            self.app.call_later(self.screen.run_action, "prompt('/')")

    def on_focus(self) -> None:
        """Say so."""
        self.post_message(self.Focused(self))

    @on(Markdown.LinkClicked)
    def _link(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        self.post_message(self.LinkWanted(event.href))

    async def watch_as_tokens(self) -> None:
        """Change how it is shown."""
        if self.is_mounted:
            await self.redraw()

    async def watch_unfolded(self) -> None:
        """Fold or unfold the thinking."""
        if self.is_mounted and self._tokens is None:
            await self._draw_text()


def _as_steps(text: str) -> list[Step]:
    """Text that no model wrote as steps, for the view that wraps text of any length."""
    return [Step(0, Role.SLM, 0, text, 0.0, 1.0, 0, 0.0)] if text else []
