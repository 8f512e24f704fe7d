"""All chats: searched while one types, opened, renamed, deleted and brought back.

Knows the store and how a list of chats looks; nothing of the chat that is open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.screens.chat_row import Row
from rstitch_tui.screens.confirm import Dialog, Line
from rstitch_tui.store.records import ChatRow
from rstitch_tui.store.store import Store

_PAGE = 200
"""Chats listed at first, and those that each wish for more adds."""
_LONGEST_TITLE = 200
_MORE = "more"

Stored = TypeVar("Stored")


class Search(Line):
    """What to search for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Open", id="chats_open_found"),
        Binding("down", "screen.list", "To the list", id="chats_list"),
    ]


class ChatList(OptionList):
    """The chats."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open", id="chats_open")]

    def on_click(self, event: events.Click) -> None:
        """A click marks a chat, a click on the one that is marked opens it."""
        place = event.style.meta.get("option")
        if place is not None and place != self.highlighted:
            event.prevent_default()
            self.highlighted = place

    def action_cursor_up(self) -> None:
        """From the first chat back to the search."""
        if self.highlighted in (0, None):
            self.screen.query_one("#search").focus()
        else:
            super().action_cursor_up()


class ChatsScreen(Dialog[int | None]):
    """Lists the chats and gives back the id of the one to open, or None.

    Args:
        store: where they are kept.
        words: what to search for at first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Close", id="chats_close"),
        Binding("f2,r", "rename", "Rename", id="chats_rename", tooltip="Give the chat another title."),
        Binding("d,delete", "delete", "Delete", id="chats_delete", tooltip="Delete the chat; it can be undone."),
        Binding("u", "undo", "Undo", id="chats_undo", tooltip="Bring back the chat that was deleted last."),
        Binding("slash", "search", "Search", id="chats_search", tooltip="Go to the search field."),
    ]

    DEFAULT_CSS = """
    ChatsScreen {
        & > .box { padding: 0; }
        & #search { margin: 0 1 1 1; }
        & #place { width: 100%; height: 1fr; layers: below above; }
        & ChatList {
            layer: below; height: 100%; border: none; padding: 0; background: $surface;
            &:focus { border: none; background-tint: transparent; }
            & > .option-list--option { padding: 0 2; }
        }
        & #rename { layer: above; &.-textual-compact { padding: 0 2; } display: none; background: $warning 30%; }
        & #rename.-shown { display: block; }
        & #said { height: auto; max-height: 2; padding: 0 2; color: $text-muted; }
        & #said.-error { color: $text-error; }
        & #said.-undo { color: $text-warning; }
        &.-tiny #search { margin: 0; }
    }
    """

    def __init__(self, store: Store, words: str = "") -> None:
        super().__init__()
        self.store = store
        self._words = words
        self._limit = _PAGE
        self._rows: list[ChatRow] = []
        self._renaming: int | None = None
        self._deleted: list[int] = []

    def compose(self) -> ComposeResult:
        """Search field, list, a line for what happened."""
        with Vertical(classes="box") as box:
            box.border_title = "Chats"
            yield Search(self._words, id="search", placeholder="Search in titles and messages")
            with Container(id="place"):
                yield ChatList(id="list")
                yield Line(id="rename", max_length=_LONGEST_TITLE)
            yield Static(id="said", markup=False)
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """List what there is."""
        # The app's own list, where it keeps one: what was deleted here can be brought back from the chat as well.
        self._deleted = getattr(self.app, "deleted", self._deleted)
        self._fill()
        self.query_one("#search").focus()
        # The field stands on the row it renames, wherever that is scrolled to.
        self.watch(self.chats, "scroll_y", self._place_rename, init=False)

    @property
    def chats(self) -> ChatList:
        """The list."""
        return self.query_one(ChatList)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """What cannot be done now is not offered either."""
        if not self.is_mounted:
            return True
        listed = self.chats.has_focus
        if action == "undo":
            return listed and bool(self._deleted)
        if action == "delete":
            return listed and self._current() is not None
        if action == "rename":
            return self._renaming is None and self._current() is not None
        return listed if action == "search" else True

    # The list

    def _fill(self, keep: int | None = None, index: int = 0) -> None:
        """List the chats that match; the mark goes to the chat `keep`, else to the row `index`."""
        words = self._words.strip()
        rows = self._stored(lambda: self.store.chats(words, limit=self._limit + 1))
        if rows is None:
            return
        more = len(rows) > self._limit
        self._rows = rows[: self._limit]
        now = time.time()
        options = [Option(Row(row, now, searched=bool(words))) for row in self._rows]
        if more:
            options.append(Option(Content.styled("There are more: search, or press Enter here", "italic"), id=_MORE))
        scrolled = self.chats.scroll_y
        self.chats.set_options(options)
        if keep is not None or index:
            self.chats.scroll_to(y=scrolled, animate=False, immediate=True)
        index = next((i for i, row in enumerate(self._rows) if row.id == keep), index)
        self.chats.highlighted = min(index, len(options) - 1) if options else None
        self._count(more)
        self.refresh_bindings()

    def _count(self, more: bool) -> None:
        if self._rows:
            number = f"More than {self._limit:,}" if more else f"{len(self._rows):,}"
            self._say(f"{number} chat{'s' if len(self._rows) != 1 else ''}")
        elif self._words.strip():
            self._say(f"No chat has {one_line(self._words, 40)}")
        else:
            self._say("No chats yet: what you ask is kept here.")

    def _current(self) -> ChatRow | None:
        """The chat that is marked."""
        place = self.chats.highlighted
        return self._rows[place] if place is not None and place < len(self._rows) else None

    def _say(self, text: str, kind: str = "") -> None:
        said = self.query_one("#said", Static)
        said.update(Content(text))
        said.set_classes(kind)

    def _stored(self, ask: Callable[[], Stored]) -> Stored | None:
        """What the store says; None, and the reason on the screen, where it cannot."""
        try:
            return ask()
        except RStitchError as error:
            self._say(safe_text(f"{error.title}. {error.message}"), "-error")
            return None

    @on(Line.Changed, "#search")
    def _search(self, event: Line.Changed) -> None:
        # The field also says so when it is shown, with what is listed already.
        if event.value != self._words:
            self._words, self._limit = event.value, _PAGE
            self._fill()

    @on(Line.Submitted, "#search")
    def _open_marked(self) -> None:
        self.chats.action_select()

    @on(ChatList.OptionSelected)
    def _selected(self, event: ChatList.OptionSelected) -> None:
        if event.option_id == _MORE:
            place, self._limit = self._limit, self._limit + _PAGE
            self._fill(index=place)
        elif (row := self._current()) is not None:
            self.dismiss(row.id)

    # What is done to a chat

    def action_delete(self) -> None:
        """Delete the chat that is marked."""
        row, place = self._current(), self.chats.highlighted
        if row is None or not self._did(lambda: self.store.delete(row.id)):
            return
        self._deleted.append(row.id)
        self._fill(index=place or 0)
        self._say(f"Deleted: {one_line(row.title, 40) or 'No title'}. u brings it back.", "-undo")

    def action_undo(self) -> None:
        """Bring back the chat that was deleted last."""
        chat = self._deleted.pop()
        if self._did(lambda: self.store.restore(chat)):
            self._fill(keep=chat)
            self._say("Brought back.")

    def action_rename(self) -> None:
        """Open the title of the chat that is marked."""
        row = self._current()
        if row is None:
            return
        self._renaming = row.id
        field = self.query_one("#rename", Line)
        field.value = one_line(row.title, _LONGEST_TITLE)
        field.cursor_position = len(field.value)
        field.add_class("-shown")
        self.chats.scroll_to_highlight()
        self._place_rename()
        field.focus()
        self.refresh_bindings()
        self._say("Enter keeps the title, Esc leaves it as it was.")

    def _place_rename(self) -> None:
        place = self.chats.highlighted
        if self._renaming is not None and place is not None:
            height = 2 if self._words.strip() else 1
            self.query_one("#rename").styles.offset = (0, place * height - self.chats.scroll_offset.y)

    @on(Line.Submitted, "#rename")
    def _renamed(self, event: Line.Submitted) -> None:
        renaming, title = self._renaming, one_line(event.value, _LONGEST_TITLE)
        self._end_rename()
        if renaming is not None and title and self._did(lambda: self.store.rename(renaming, title)):
            self._fill(keep=renaming)

    def _end_rename(self) -> None:
        self._renaming = None
        field = self.query_one("#rename")
        had_focus = field.has_focus
        field.remove_class("-shown")
        if had_focus:
            self.chats.focus()
        self._count(len(self.chats.options) > len(self._rows))
        self.refresh_bindings()

    @on(events.DescendantBlur)
    def _left(self) -> None:
        # A click elsewhere leaves the title as it was; another window of the desktop changes nothing.
        if self._renaming is not None and self.app.app_focus and not self.query_one("#rename").has_focus:
            self._end_rename()

    def action_back(self) -> None:
        """Leave the title, or the list."""
        if self._renaming is not None:
            self._end_rename()
        else:
            self.dismiss(None)

    def action_search(self) -> None:
        """Go to the search field."""
        self.query_one("#search").focus()

    def _did(self, change: Callable[[], object]) -> bool:
        """Whether the store could do it."""
        return self._stored(lambda: (change(),)) is not None

    def action_list(self) -> None:
        """From the search into the list."""
        self.chats.focus()
