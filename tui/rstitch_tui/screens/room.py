"""The context is full: what can be done about it.

Knows the figures it is given; nothing of caches, chats or how either is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static
from textual.widgets.option_list import Option

from rstitch_local.decoding.roles import Role
from rstitch_local.sanitize import human_bytes
from rstitch_tui.screens.confirm import Dialog, DialogOption, DialogOptions


def larger_context(used: Mapping[Role, tuple[int, int]], limit: int) -> int | None:
    """Twice the context there is, at most what the models can use; None where that is no more than there is."""
    now = min((size for _, size in used.values()), default=0)
    wanted = min(2 * now, limit)
    return wanted if wanted > now else None


class RoomWays(DialogOptions):
    """What can be done."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Choose", id="room_choose")]


class RoomScreen(Dialog[str | None]):
    """Says that the context is full and gives back what is to be done: "drop", "raise", or None to leave it.

    Args:
        used: tokens in each model's cache, of how many it holds; may be empty where that is not known.
        limit: the largest context both models can use.
        can_drop: whether there are turns that can be left out.
        cache_bytes: memory the caches need at the larger context, if that is known.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave it", id="room_leave"),
    ]

    DEFAULT_CSS = """
    RoomScreen {
        & > .box, &.-tall > .box { height: auto; max-width: 76; }
        &.-tiny > .box { height: 100%; }
        & .said { padding: 0 1; margin-bottom: 1; }
        & RoomWays { margin-bottom: 1; }
        &.-tiny .said, &.-tiny RoomWays { margin: 0; }
    }
    """

    def __init__(
        self, used: Mapping[Role, tuple[int, int]], limit: int, can_drop: bool, cache_bytes: int | None = None
    ) -> None:
        super().__init__()
        self._used, self._limit, self._can_drop, self._cache_bytes = used, limit, can_drop, cache_bytes

    def compose(self) -> ComposeResult:
        """What is full, and the three ways on."""
        with VerticalScroll(classes="box", can_focus=False) as box:
            box.border_title = "The context is full"
            yield Static(self._sentence(), classes="said", markup=False)
            yield RoomWays(
                _option(
                    "drop",
                    "Leave the older half of the turns out",
                    "They stay in the chat; the models no longer read them.",
                    "" if self._can_drop else "Not possible: only the last question is left.",
                ),
                self._raise(),
                _option("leave", "Leave it", "The chat stays as it is, and this answer as long as it is."),
            )
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin at the first way that is open."""
        self.query_one(RoomWays).focus()

    def _sentence(self) -> str:
        figures = [
            f"the {role.name} holds {self._used[role][0]:,} of {self._used[role][1]:,} tokens"
            for role in Role
            if role in self._used
        ]
        sentence = "The models can read no more of this chat"
        return f"{sentence}: {', '.join(figures)}." if figures else f"{sentence}."

    def _raise(self) -> Option:
        wanted = larger_context(self._used, self._limit)
        if self._used and wanted is None:
            reason = f"Not possible: the models can use no more than {self._limit:,} tokens."
            return _option("raise", "Load again with twice the context", "", reason)
        title = f"Load again with {wanted:,} tokens" if wanted else "Load again with twice the context"
        memory = f"; the caches then need {human_bytes(self._cache_bytes)}" if self._cache_bytes else ""
        return _option("raise", title, f"It takes as long as loading did, and more memory{memory}.")

    @on(RoomWays.OptionSelected)
    def _chosen(self, event: RoomWays.OptionSelected) -> None:
        self.dismiss(None if event.option_id == "leave" else event.option_id)


def _option(name: str, title: str, sentence: str, impossible: str = "") -> Option:
    return Option(DialogOption(title, impossible or sentence), id=name, disabled=bool(impossible))
