"""The messages of a chat, one above the other; the oldest are drawn only when somebody scrolls up to them.

Knows which messages are shown and which has the focus; nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual import events, on
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace
from rstitch_tui.store.records import Message
from rstitch_tui.widgets.message_view import MessageView

_SHOWN_AT_FIRST = 12
_SHOWN_MORE = 12
_MOST_SHOWN = 16
_MOST_CHARACTERS = 6000
"""Messages on screen at once, and characters of answers in them: every paragraph and every item of a list is a widget,
and all of them are laid out whenever a line is added."""


class MessageLog(VerticalScroll, can_focus=False):
    """A scrolling column of MessageViews. It follows what is written until the reader scrolls up.

    Args:
        steps_of: the steps of an answer by the message's id; asked for only where they are shown.
    """

    DEFAULT_CSS = """
    MessageLog {
        height: 1fr;
        padding: 1 1 0 1;
        scrollbar-size-vertical: 1;
        & > .earlier { height: 1; color: $text-muted; text-align: center; display: none; }
        & > .earlier.-shown { display: block; }
        & > .greeting { color: $text-muted; height: auto; padding: 1 2; display: none; }
        & > .greeting.-shown { display: block; }
    }
    """

    def __init__(self, steps_of: Callable[[int], list[Step]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._steps_of = steps_of
        self._path: list[Message] = []
        self._places: Mapping[int, tuple[int, int]] = {}
        self._views: dict[int, MessageView] = {}
        self._earlier = Static(classes="earlier", markup=False)
        self._greeting = Static(classes="greeting", markup=False)
        self.current: MessageView | None = None
        """The message that had the focus last."""
        self.as_tokens = False
        self.unfolded = False
        self.colored = True
        """Whether tokens are colored where they are shown."""

    def compose(self) -> list[Static]:
        """What stands above the first message."""
        return [self._earlier, self._greeting]

    def greet(self, text: str) -> None:
        """What an empty chat says."""
        self._greeting.update(Content(text))
        self._greeting.set_class(not self._path, "-shown")

    def view(self, message_id: int) -> MessageView | None:
        """The view of a message that is on screen."""
        return self._views.get(message_id)

    async def show(self, path: Sequence[Message], places: Mapping[int, tuple[int, int]]) -> None:
        """Show a branch: what it has in common with the one on screen stays as it is."""
        self._path, self._places = list(path), places
        wanted = {message.id for message in path}
        gone = [view for message_id, view in self._views.items() if message_id not in wanted]
        for view in gone:
            del self._views[view.message_id]
            if self.current is view:
                self.current = None
        if gone:
            await self.remove_children(gone)
        if not any(message.id in self._views for message in path):
            begin = _begin(path, _SHOWN_AT_FIRST)
        else:
            begin = next(i for i, message in enumerate(path) if message.id in self._views)
        begin = max(begin, _begin(path, _MOST_SHOWN))
        old = [self._views.pop(message.id) for message in path[:begin] if message.id in self._views]
        if old:
            await self.remove_children(old)
        fresh = [message for message in path[begin:] if message.id not in self._views]
        await self.mount_all([self._make(message) for message in fresh])
        for message in path[begin:]:
            self._title(message)
        self._greeting.set_class(not path, "-shown")
        self._say_earlier(begin)

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()
        self.scroll_end(animate=False)

    async def finish(self, message: Message, trace: Trace | None) -> None:
        """An answer is complete."""
        self._path = [message if old.id == message.id else old for old in self._path]
        view = self._views.get(message.id)
        if view is not None:
            view.opens_thinking = message.opens_thinking
            view.tau = message.settings.get("tau")
            await view.finish(message.text, trace.steps if trace is not None else [])
            self._title(message)

    async def show_tokens(self, on: bool) -> None:
        """All answers token by token, or all as Markdown."""
        self.as_tokens = on
        for view in self._views.values():
            self.show_tokens_of(view, on)

    def show_tokens_of(self, view: MessageView, on: bool) -> None:
        """One answer token by token, or as Markdown."""
        if on and view.who == "assistant" and not view.steps:
            view.steps = self._steps_of(view.message_id)
        view.as_tokens = on

    async def show_thinking(self, on: bool) -> None:
        """Unfold or fold the thinking of all answers."""
        self.unfolded = on
        for view in self._views.values():
            view.unfolded = on

    def walk(self, by: int) -> None:
        """Put the focus on the message below (1) or above (-1)."""
        views = [self._views[m.id] for m in self._path if m.id in self._views]
        if not views:
            return
        place = views.index(self.current) + by if self.current in views else len(views) - 1
        if place < 0:
            self.call_later(self.show_earlier)
        views[max(0, min(place, len(views) - 1))].focus()

    @on(MessageView.Focused)
    def _focused(self, event: MessageView.Focused) -> None:
        self.current = event.view

    @on(events.Click, ".earlier")
    async def show_earlier(self) -> None:
        """Show some of the messages above."""
        begin = next((i for i, m in enumerate(self._path) if m.id in self._views), len(self._path))
        if begin == 0:
            return
        more = self._path[max(0, begin - _SHOWN_MORE) : begin]
        await self.mount_all([self._make(message) for message in more], after=self._greeting)
        for message in more:
            self._title(message)
        self._say_earlier(begin - len(more))

    def _say_earlier(self, count: int) -> None:
        self._earlier.update(Content(f"↑ {count} earlier messages"))
        self._earlier.set_class(count > 0, "-shown")

    def _make(self, message: Message) -> MessageView:
        view = MessageView(
            message.id,
            message.role,
            prefix=message.prefix,
            text=message.text,
            opens_thinking=message.opens_thinking,
            finished=not message.unfinished,
        )
        view.tau = message.settings.get("tau")
        view.colored = self.colored
        if message.role == "assistant" and not message.unfinished and (self.as_tokens or _thinks(message)):
            view.steps = self._steps_of(message.id)
        view.set_reactive(MessageView.as_tokens, self.as_tokens)
        view.set_reactive(MessageView.unfolded, self.unfolded)
        self._views[message.id] = view
        return view

    def _title(self, message: Message) -> None:
        """Who wrote it and how, and what there is to know of its end."""
        view = self._views.get(message.id)
        if view is None:
            return
        place, number = self._places.get(message.id, (1, 1))
        branch = f"  ‹ {place}/{number} ›" if number > 1 else ""
        if message.role == "user":
            view.set_title(f"You{branch}")
            return
        view.set_title(f"Answer{_summary(message)}{branch}")
        if message.error:
            view.set_notice(message.error, error=True)
        else:
            view.set_notice(_ENDINGS.get(message.stop or "", ""))


def _begin(path: Sequence[Message], most: int) -> int:
    """Where the last messages begin that are shown: so many at most, and the last turn whatever its length."""
    begin, room = len(path), _MOST_CHARACTERS
    while begin > max(0, len(path) - most):
        message = path[begin - 1]
        room -= len(message.text) if message.role == "assistant" else 0
        if room < 0 and begin <= len(path) - 2:
            break
        begin -= 1
    return begin


def _thinks(message: Message) -> bool:
    """Whether an answer has thinking, of which its steps say how long it took."""
    return bool(split_thinking(message.text, message.opens_thinking, finished=True)[0])


def _summary(message: Message) -> str:
    """How an answer was made, and what it took."""
    router = message.settings.get("router")
    said = f" · {one_line(router, 30)}" if router else ""
    if message.totals is None:
        return said
    tokens = message.totals.get("tokens", {})
    count = sum(tokens.values())
    if not count:
        return said
    ms = message.totals.get("wall_ms", 0.0)
    took = f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1e3:.1f} s"
    return f"{said} · {tokens.get('llm', 0) / count:.0%} LLM of {count:,} tokens · {took}"


_ENDINGS = {
    "interrupted": "Stopped. /continue goes on from here; /edit changes it first.",
    "length": "Cut off: the budget or the context is used up. /continue goes on from here.",
}
