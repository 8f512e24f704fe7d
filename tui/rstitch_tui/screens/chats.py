"""The list of chats: search, open, rename, delete and restore."""

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
from rstitch_tui.chat_host import FoundChat
from rstitch_tui.screens.chat_list_item import ChatListItem
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.store.records import ChatRow
from rstitch_tui.store.store import Store
from rstitch_tui.widgets.line_input import LineInput

_PAGE = 200
"""Chats listed at first, and added by each request for more."""
_LONGEST_TITLE = 200
_MORE = "more"

Result = TypeVar("Result")


class ChatSearch(LineInput):
    """The search field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Open", id="chats_open_found"),
        Binding("down", "screen.list", "List", id="chats_list"),
    ]

    async def _on_key(self, event: events.Key) -> None:
        bound = self.screen.active_bindings.get(event.key)
        moves = bound is not None and bound.binding.id == "chats_list"
        # `has_focus` changes later than the focus.
        focused = self.screen.focused is self
        if focused and not moves:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        if focused:
            # Handled before it bubbles up: the next key may be queued already and belongs to the list.
            await self.screen.run_action("list")
        else:
            self.app.simulate_key(event.key)


class ChatList(OptionList):
    """The chats, at the end an item that lists more."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open", id="chats_open")]

    def on_click(self, event: events.Click) -> None:
        """Highlight a chat; a click on the highlighted one opens it."""
        index = event.style.meta.get("option")
        if index is not None and index != self.highlighted:
            event.prevent_default()
            self.highlighted = index

    def action_cursor_up(self) -> None:
        """Move up; from the first chat to the search field."""
        if self.highlighted in (0, None):
            self.screen.query_one("#search").focus()
        else:
            super().action_cursor_up()


class ChatsScreen(Dialog[FoundChat | None]):
    """Returns the chat to open and the message that was found, or None.

    Args:
        store: the chats.
        deleted: ids of deleted chats that can be restored, the latest last; changed in place.
        words: initial search words.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Close", id="chats_close"),
        Binding("f2,r", "rename", "Rename", id="chats_rename", tooltip="Rename the chat."),
        Binding("d,delete", "delete", "Delete", id="chats_delete", tooltip="Delete the chat; undo restores it."),
        Binding("u", "undo", "Undo", id="chats_undo", tooltip="Restore the chat deleted last."),
        Binding("slash", "search", "Search", id="chats_search", tooltip="Move to the search field."),
    ]

    DEFAULT_CSS = """
    ChatsScreen {
        & > .box { padding: 0; }
        & #search { margin: 0 1 1 1; }
        & #area { width: 100%; height: 1fr; layers: below above; }
        & ChatList {
            layer: below; height: 100%; border: none; padding: 0; background: $surface;
            &:focus { border: none; background-tint: transparent; }
            & > .option-list--option { padding: 0 2; }
        }
        & #rename { layer: above; &.-textual-compact { padding: 0 2; } display: none; background: $warning 30%; }
        & #rename.-shown { display: block; }
        & #status { height: auto; max-height: 2; padding: 0 2; color: $text-muted; }
        & #status.-error { color: $text-error; }
        & #status.-undo { color: $text-warning; }
        &.-tiny #search { margin: 0; }
    }
    """

    def __init__(self, store: Store, deleted: list[int], words: str = "") -> None:
        super().__init__()
        self.store = store
        self._deleted = deleted
        self._words = words
        self._limit = _PAGE
        self._rows: list[ChatRow] = []
        self._renaming: int | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Chats"
            yield ChatSearch(self._words, id="search", placeholder="Search titles and messages")
            with Container(id="area"):
                yield ChatList(id="list")
                yield LineInput(id="rename", max_length=_LONGEST_TITLE)
            yield Static(id="status", markup=False)
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._fill()
        self.query_one("#search").focus()
        # The rename field covers the item being renamed, also while the list scrolls.
        self.watch(self.chats, "scroll_y", self._move_rename_field, init=False)

    @property
    def chats(self) -> ChatList:
        return self.query_one(ChatList)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Offer only what is possible now."""
        if not self.is_mounted:
            return True
        in_list = self.chats.has_focus
        if action == "undo":
            return in_list and bool(self._deleted)
        if action == "delete":
            return in_list and self._current() is not None
        if action == "rename":
            return self._renaming is None and self._current() is not None
        return in_list if action == "search" else True

    # The list

    def _fill(self, keep: int | None = None, index: int = 0) -> None:
        """List the matching chats and highlight the chat with the id `keep`, else the item at `index`."""
        words = self._words.strip()
        rows = self._try(lambda: self.store.chats(words, limit=self._limit + 1))
        if rows is None:
            return
        more = len(rows) > self._limit
        self._rows = rows[: self._limit]
        now = time.time()
        options = [Option(ChatListItem(row, now, with_match=bool(words))) for row in self._rows]
        if more:
            options.append(Option(Content.styled("More chats: press Enter here, or search", "italic"), id=_MORE))
        scrolled = self.chats.scroll_y
        self.chats.set_options(options)
        if keep is not None or index:
            self.chats.scroll_to(y=scrolled, animate=False, immediate=True)
        index = next((i for i, row in enumerate(self._rows) if row.id == keep), index)
        self.chats.highlighted = min(index, len(options) - 1) if options else None
        self._show_count(more)
        self.refresh_bindings()

    def _show_count(self, more: bool) -> None:
        if self._rows:
            number = f"More than {self._limit:,}" if more else f"{len(self._rows):,}"
            self._show_status(f"{number} chat{'s' if len(self._rows) != 1 else ''}")
        elif self._words.strip():
            self._show_status(f"No chat matches {one_line(self._words, 40)}")
        else:
            self._show_status("No chats yet")

    def _current(self) -> ChatRow | None:
        """Return the highlighted chat."""
        index = self.chats.highlighted
        return self._rows[index] if index is not None and index < len(self._rows) else None

    def _show_status(self, text: str, kind: str = "") -> None:
        status = self.query_one("#status", Static)
        status.update(Content(text))
        status.set_classes(kind)

    def _try(self, call: Callable[[], Result]) -> Result | None:
        """Return the result of a call of the store; if it fails, show the error and return None."""
        try:
            return call()
        except RStitchError as error:
            self._show_status(safe_text(f"{error.title}. {error.message}"), "-error")
            return None

    @on(LineInput.Changed, "#search")
    def _search(self, event: LineInput.Changed) -> None:
        # The field also posts a change when it is mounted.
        if event.value != self._words:
            self._words, self._limit = event.value, _PAGE
            self._fill()

    @on(LineInput.Submitted, "#search")
    def _open_highlighted(self) -> None:
        self.chats.action_select()

    @on(ChatList.OptionSelected)
    def _selected(self, event: ChatList.OptionSelected) -> None:
        if event.option_id == _MORE:
            first_new, self._limit = self._limit, self._limit + _PAGE
            self._fill(index=first_new)
        elif (row := self._current()) is not None:
            self.dismiss(FoundChat(row.id, row.message))

    # Actions

    def action_delete(self) -> None:
        """Delete the highlighted chat."""
        row, index = self._current(), self.chats.highlighted
        if row is None or not self._succeeds(lambda: self.store.delete(row.id)):
            return
        self._deleted.append(row.id)
        self._fill(index=index or 0)
        self._show_status(f"Deleted: {one_line(row.title, 40) or 'No title'}. Press u to undo.", "-undo")

    def action_undo(self) -> None:
        """Restore the chat deleted last."""
        chat = self._deleted.pop()
        if self._succeeds(lambda: self.store.restore(chat)):
            self._fill(keep=chat)
            self._show_status("Restored.")

    def action_rename(self) -> None:
        """Edit the title of the highlighted chat."""
        row = self._current()
        if row is None:
            return
        self._renaming = row.id
        field = self.query_one("#rename", LineInput)
        field.value = one_line(row.title, _LONGEST_TITLE)
        field.cursor_position = len(field.value)
        field.add_class("-shown")
        self.chats.scroll_to_highlight()
        self._move_rename_field()
        field.focus()
        self.refresh_bindings()
        self._show_status("Enter saves the title, Esc cancels.")

    def _move_rename_field(self) -> None:
        index = self.chats.highlighted
        if self._renaming is not None and index is not None:
            height = 2 if self._words.strip() else 1
            self.query_one("#rename").styles.offset = (0, index * height - self.chats.scroll_offset.y)

    @on(LineInput.Submitted, "#rename")
    def _renamed(self, event: LineInput.Submitted) -> None:
        renaming, title = self._renaming, one_line(event.value, _LONGEST_TITLE)
        self._end_rename()
        if renaming is not None and title and self._succeeds(lambda: self.store.rename(renaming, title)):
            self._fill(keep=renaming)

    def _end_rename(self) -> None:
        self._renaming = None
        field = self.query_one("#rename")
        had_focus = field.has_focus
        field.remove_class("-shown")
        if had_focus:
            self.chats.focus()
        self._show_count(len(self.chats.options) > len(self._rows))
        self.refresh_bindings()

    @on(events.DescendantBlur)
    def _focus_left(self) -> None:
        # A click elsewhere cancels the renaming; switching to another desktop window does not.
        if self._renaming is not None and self.app.app_focus and not self.query_one("#rename").has_focus:
            self._end_rename()

    def action_back(self) -> None:
        """Cancel the renaming, or close the list."""
        if self._renaming is not None:
            self._end_rename()
        else:
            self.dismiss(None)

    def action_search(self) -> None:
        """Move to the search field."""
        self.query_one("#search").focus()

    def _succeeds(self, change: Callable[[], object]) -> bool:
        """Call the store and show an error; returns whether it succeeded."""
        return self._try(lambda: (change(),)) is not None

    def action_list(self) -> None:
        """Move from the search field to the list."""
        # Not `focus()`, which takes effect later.
        self.set_focus(self.chats)
