"""The command palette: the slash commands by group, searched by name and title."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Footer, OptionList
from textual.widgets.option_list import Option

from rstitch_tui import slash
from rstitch_tui.keys import key_names, remapped
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.slash_table import SlashCommand
from rstitch_tui.widgets.line_input import LineInput

_TITLE_CELLS, _USAGE_CELLS = 44, 28


class PaletteScreen(Dialog[str | None]):
    """Lists the commands; the result is the name of the chosen one.

    Args:
        keymap: the user's keys, as `keys.resolve` returns them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move('cursor_down')", "Select", key_display="↑↓", id="palette_down"),
        Binding("up", "move('cursor_up')", "Up", show=False, id="palette_up"),
        Binding("pagedown", "move('page_down')", "Page down", show=False, id="palette_page_down"),
        Binding("pageup", "move('page_up')", "Page up", show=False, id="palette_page_up"),
        Binding("escape", "dismiss(None)", "Close", id="palette_close"),
    ]

    DEFAULT_CSS = """
    PaletteScreen {
        & > .box { padding: 0; }
        & OptionList { height: 1fr; border: none; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._listed = ""
        self._keys = {action.id: key_names(action.keys.split(",")[0]) for action in remapped(keymap)}

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Commands"
            yield LineInput(id="search", placeholder="Name or description of a command")
            commands = OptionList(markup=False)
            commands.can_focus = False
            yield commands
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#search").focus()
        self._list("")

    @on(LineInput.Changed)
    def _search(self, event: LineInput.Changed) -> None:
        self._list(event.value)

    def _list(self, words: str) -> None:
        self._listed = words
        found = slash.ranked(words)
        options: list[Option] = []
        if words.strip():
            options += [self._option(command) for command in found]
        else:
            for group, commands in groupby(found, key=lambda each: each.group):
                options.append(Option(Content.styled(group, "bold $text-primary"), disabled=True))
                options += [self._option(command) for command in commands]
        if not options:
            options.append(Option("No command matches. Esc closes.", disabled=True))
        self.query_one(OptionList).clear_options().add_options(options)
        self.query_one(OptionList).action_first()

    def _option(self, command: SlashCommand) -> Option:
        key = self._keys.get(command.key, "")
        title = f"  {command.title}"
        row = Content.assemble(
            f"{title:<{_TITLE_CELLS}} ", (f"{command.usage:<{_USAGE_CELLS}} ", "$text-muted"), (key, "bold")
        )
        return Option(row, id=command.name)

    def action_move(self, action: str) -> None:
        """Move the selection while the search field keeps the focus."""
        getattr(self.query_one(OptionList), f"action_{action}")()

    @on(LineInput.Submitted)
    def _submitted(self, event: LineInput.Submitted) -> None:
        # Enter may arrive before the list has followed the last letters.
        if event.value != self._listed:
            self._list(event.value)
        self.query_one(OptionList).action_select()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)
