"""The messages of a chat in a scrolling column; old ones are drawn only on request.

Independent of the database: the owner passes the messages.
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

# Every paragraph and list item is a widget, and every new line lays out all of them: the number of messages and the
# number of characters of answers are limited.
_INITIAL_MESSAGES = 12
_MORE_MESSAGES = 12
_MAX_MESSAGES = 16
_MAX_CHARACTERS = 6000


class MessageLog(VerticalScroll, can_focus=False):
    """A scrolling column of MessageViews that follows the end until the user scrolls up.

    Args:
        steps_of: returns the steps of the answer with a message id; called only for answers whose steps are shown.

    Attributes:
        current: the message that had the focus last.
        as_tokens: whether answers are shown token by token.
        formulas_as_source: whether formulas are shown as their source.
        unfolded: whether the thinking is shown.
        colored: whether models and entropies are shown in token views.
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
        self._branch_positions: Mapping[int, tuple[int, int]] = {}
        self._views: dict[int, MessageView] = {}
        self._earlier = Static(classes="earlier", markup=False)
        self._greeting = Static(classes="greeting", markup=False)
        self.current: MessageView | None = None
        self.as_tokens = False
        self.formulas_as_source = False
        self.unfolded = False
        self.colored = True

    def compose(self) -> list[Static]:
        return [self._earlier, self._greeting]

    def set_greeting(self, text: str) -> None:
        """Set the text of an empty chat."""
        self._greeting.update(Content(text))
        self._greeting.set_class(not self._path, "-shown")

    def view(self, message_id: int) -> MessageView | None:
        """Return the view of a message; None if it is not shown."""
        return self._views.get(message_id)

    async def show(self, path: Sequence[Message], branch_positions: Mapping[int, tuple[int, int]]) -> None:
        """Show a branch; views of messages that are shown already are kept.

        Args:
            path: messages of the branch.
            branch_positions: for each message id, its number among its siblings (from 1) and their count.
        """
        self._path, self._branch_positions = list(path), branch_positions
        await self._remove_other_branches()
        if not any(message.id in self._views for message in path):
            start = _first_shown(path, _INITIAL_MESSAGES)
        else:
            start = next(i for i, message in enumerate(path) if message.id in self._views)
        start = max(start, _first_shown(path, _MAX_MESSAGES))
        old = [self._views.pop(message.id) for message in path[:start] if message.id in self._views]
        if old:
            await self.remove_children(old)
        new = [message for message in path[start:] if message.id not in self._views]
        await self.mount_all([self._make_view(message) for message in new])
        for message in path[start:]:
            self._update_title(message)
        self._greeting.set_class(not path, "-shown")
        self._set_hidden_count(start)

    async def _remove_other_branches(self) -> None:
        ids = {message.id for message in self._path}
        old = [view for message_id, view in self._views.items() if message_id not in ids]
        for view in old:
            del self._views[view.message_id]
            if self.current is view:
                self.current = None
        if old:
            await self.remove_children(old)

    def follow(self) -> None:
        """Scroll to the end and follow it."""
        self.anchor()
        self.scroll_end(animate=False)

    async def finish(self, message: Message, trace: Trace | None) -> None:
        """Show a complete answer."""
        self._path = [message if old.id == message.id else old for old in self._path]
        view = self._views.get(message.id)
        if view is not None:
            view.opens_thinking = message.opens_thinking
            view.tau = message.settings.get("tau")
            await view.finish(message.text, trace.steps if trace is not None else [])
            self._update_title(message)

    async def update_message(self, message: Message) -> None:
        """Show the present text of an answer that another app is generating."""
        if message.unfinished:
            self._path = [message if old.id == message.id else old for old in self._path]
            view = self._views.get(message.id)
            if view is not None:
                await view.show_text(message.text)
                view.set_notice("Another window is generating this answer.")
        else:
            await self.finish(message, None)

    async def show_tokens(self, on: bool) -> None:
        """Show all answers token by token, or as Markdown."""
        self.as_tokens = on
        for view in self._views.values():
            self.show_tokens_of(view, on)

    def show_tokens_of(self, view: MessageView, on: bool) -> None:
        """Show one answer token by token, or as Markdown."""
        if on and view.role == "assistant" and not view.steps:
            view.steps = self._steps_of(view.message_id)
        view.as_tokens = on

    async def show_formulas_as_source(self, on: bool) -> None:
        """Show the formulas of all answers as their source, or as Unicode."""
        self.formulas_as_source = on
        for view in self._views.values():
            view.formulas_as_source = on

    async def show_thinking(self, on: bool) -> None:
        """Unfold or fold the thinking of all answers."""
        self.unfolded = on
        for view in self._views.values():
            view.unfolded = on

    async def reveal(self, message_id: int) -> MessageView | None:
        """Return the view of a message, after showing earlier messages if needed; None if it is on another branch."""
        while message_id not in self._views and any(message.id == message_id for message in self._path):
            if self._path[0].id in self._views:
                break
            await self.show_earlier()
        return self._views.get(message_id)

    def walk(self, by: int) -> None:
        """Focus the message below (1) or above (-1) the current one, or the last one."""
        views = [self._views[m.id] for m in self._path if m.id in self._views]
        if not views:
            return
        index = views.index(self.current) + by if self.current in views else len(views) - 1
        if index < 0:
            self.call_later(self.show_earlier)
        views[max(0, min(index, len(views) - 1))].focus()

    @on(MessageView.Focused)
    def _focused(self, event: MessageView.Focused) -> None:
        self.current = event.view

    @on(events.Click, ".earlier")
    async def show_earlier(self) -> None:
        """Show more of the messages above."""
        start = next((i for i, m in enumerate(self._path) if m.id in self._views), len(self._path))
        if start == 0:
            return
        more = self._path[max(0, start - _MORE_MESSAGES) : start]
        await self.mount_all([self._make_view(message) for message in more], after=self._greeting)
        for message in more:
            self._update_title(message)
        self._set_hidden_count(start - len(more))

    def _set_hidden_count(self, count: int) -> None:
        self._earlier.update(Content(f"↑ {count} earlier messages"))
        self._earlier.set_class(count > 0, "-shown")

    def _make_view(self, message: Message) -> MessageView:
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
        if message.role == "assistant" and not message.unfinished and (self.as_tokens or _has_thinking(message)):
            view.steps = self._steps_of(message.id)
        view.set_reactive(MessageView.as_tokens, self.as_tokens)
        view.set_reactive(MessageView.formulas_as_source, self.formulas_as_source)
        view.set_reactive(MessageView.unfolded, self.unfolded)
        self._views[message.id] = view
        return view

    def _update_title(self, message: Message) -> None:
        """Update the title and the notice of a message."""
        view = self._views.get(message.id)
        if view is None:
            return
        position, count = self._branch_positions.get(message.id, (1, 1))
        branch = f"  ‹ {position}/{count} ›" if count > 1 else ""
        if message.role == "user":
            view.set_title(f"You{branch}")
            return
        view.set_title(f"Answer{_summary(message)}{branch}")
        if message.error:
            view.set_notice(message.error, error=True)
        else:
            view.set_notice(_STOP_NOTICES.get(message.stop or "", ""))


def _first_shown(path: Sequence[Message], limit: int) -> int:
    """Return the index of the first message to show: at most `limit` messages, but at least the last two."""
    start, characters = len(path), 0
    while start > max(0, len(path) - limit):
        message = path[start - 1]
        characters += len(message.text) if message.role == "assistant" else 0
        if characters > _MAX_CHARACTERS and start <= len(path) - 2:
            break
        start -= 1
    return start


def _has_thinking(message: Message) -> bool:
    """Return whether an answer has thinking, whose length and time are computed from the steps."""
    return bool(split_thinking(message.text, message.opens_thinking, finished=True)[0])


def _summary(message: Message) -> str:
    """Return the router, the share of the LLM and the time of an answer for its title."""
    router = message.settings.get("router")
    summary = f" · {one_line(router, 30)}" if router else ""
    if message.totals is None:
        return summary
    tokens = message.totals.get("tokens", {})
    count = sum(tokens.values())
    if not count:
        return summary
    ms = message.totals.get("wall_ms", 0.0)
    time = f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1e3:.1f} s"
    resumed = message.totals.get("kept", 0)
    # The time is that of the new tokens.
    length = f"{count - resumed:,} new of {count:,} tokens" if resumed else f"{count:,} tokens"
    return f"{summary} · {tokens.get('llm', 0) / count:.0%} LLM · {length} · {time}"


_STOP_NOTICES = {
    "interrupted": "Stopped. /continue resumes the answer, /edit changes it first.",
    "length": "Truncated: maximum length or context reached. /continue resumes the answer.",
}
