"""The list of pairs: what is on this disk, what fits into memory, downloads.

Returns the pair to load; loading is done by the app.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import human_bytes
from rstitch_tui.download_state import Stage
from rstitch_tui.downloads import Downloads
from rstitch_tui.keys import ACTIONS, binding, bindings
from rstitch_tui.pair_states import PairStates
from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.screens.two_files import TwoFilesScreen
from rstitch_tui.widgets.pair_details import PairDetails
from rstitch_tui.widgets.pair_view import PairRow, PairView

_REFRESH_S = 0.25
"""Interval at which the progress of downloads is drawn."""


class PairList(OptionList):
    """The pairs. A click highlights a pair, a double click loads it."""

    BINDINGS: ClassVar[list[BindingType]] = [binding("pair_load", "screen.pair_load")]

    async def on_click(self, event: events.Click) -> None:
        if event.chain == 2 and "option" in event.style.meta:
            await self.run_action("screen.pair_load")


class ModelsScreen(Dialog[PairChoice | None]):
    """Returns the pair to load, with its files checked, or None.

    Args:
        downloads: the downloads, with the catalog.
        loaded: name of the loaded pair.
        gpu_free: free GPU memory in bytes.
    """

    class Unload(Message):
        """Request to unload the pair."""

    class _Checked(Message):
        """The files of a pair have been checked."""

        def __init__(self, name: str, result: PairChoice | RStitchError) -> None:
            super().__init__()
            self.name, self.result = name, result

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        Binding("escape", "dismiss(None)", "Close", id="models_close"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-wide")]  # noqa: RUF012  declared as in Textual

    DEFAULT_CSS = """
    ModelsScreen {
        & > .box { max-width: 124; padding: 0; border-subtitle-color: $text-muted; }
        & #intro { display: none; height: auto; padding: 0 2 1 2; color: $text-muted; }
        &.-first #intro { display: block; }
        & #body { height: 1fr; layout: horizontal; }
        & PairList {
            width: 48%; height: 100%; border: none; padding: 0; background: $surface;
            & > .option-list--option { padding: 0 1; }
            & > .option-list--option-highlighted { background: $primary 20%; color: $foreground; text-style: none; }
            &:focus { border: none; background-tint: transparent; }
            &:focus > .option-list--option-highlighted {
                background: $primary 40%; color: $foreground; text-style: none;
            }
        }
        &.-narrow #body { layout: vertical; }
        &.-narrow PairList { width: 100%; height: 50%; }
        &.-narrow #details { width: 100%; height: 1fr; border-left: none; border-top: solid $panel; padding: 0 1; }
        &.-narrow #details:focus { border-top: solid $primary; }
        &.-tiny #intro { display: none; }
        &.-tiny #details > Static, &.-tiny ProgressBar { margin-bottom: 0; }
        &.-tiny PairList { height: 40%; }
    }
    """

    def __init__(self, downloads: Downloads, *, loaded: str | None = None, gpu_free: int = 0) -> None:
        super().__init__()
        self.downloads = downloads
        self._states = PairStates(downloads, loaded, gpu_free)
        self._views: list[PairView] = []
        self._offered: list[bool | None] = []
        self._short = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Models"
            yield Static(
                "A small model generates, a large one takes over where it is uncertain. Choose a pair to start with.",
                id="intro",
                markup=False,
            )
            with Container(id="body"):
                yield PairList()
                yield PairDetails(id="details")
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self._views = self._make_views()
        pairs = self._list
        pairs.add_options([Option(PairRow(view, short=self._short)) for view in self._views])
        first = next((view for view in self._views if view.loaded), None)
        first = first or next((view for view in self._views if view.disk.ready), None)
        pairs.highlighted = self._views.index(first) if first is not None else (0 if self._views else None)
        pairs.focus()
        self.set_class(self._states.loaded is None, "-first")
        self._draw_details()
        self.set_interval(_REFRESH_S, self.update_views)

    @property
    def view(self) -> PairView | None:
        """The highlighted pair."""
        index = self._list.highlighted
        return self._views[index] if index is not None and index < len(self._views) else None

    def update_views(self) -> None:
        """Draw the current state of all pairs."""
        before, self._views = self._views, self._make_views()
        for index, (old, new) in enumerate(zip(before, self._views, strict=True)):
            if old != new:
                self._list.replace_option_prompt_at_index(index, PairRow(new, short=self._short))
        self._draw_details()

    @property
    def _list(self) -> PairList:
        return self.query_one(PairList)

    def _make_views(self) -> list[PairView]:
        memory = self._states.memory()
        self.query_one(".box").border_subtitle = Content(str(memory))
        return self._states.views(memory)

    def _draw_details(self) -> None:
        offered = [self.check_action(row.id, ()) for row in ACTIONS if row.where == "list"]
        # Refreshing recreates the footer.
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()
        if self.view is not None:
            self.query_one(PairDetails).show(self.view)

    @on(PairList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._draw_details()

    def on_resize(self, event: events.Resize) -> None:
        """Use one line per pair on small terminals."""
        short = event.size.height < 16
        if short is not self._short:
            self._short = short
            for index, view in enumerate(self._views):
                self._list.replace_option_prompt_at_index(index, PairRow(view, short=short))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Offer only what is possible with the highlighted pair."""
        if not action.startswith("pair_"):
            return True
        view = self.view if self._views else None
        if action in ("pair_files", "pair_unload"):
            return action == "pair_files" or self._states.loaded is not None
        if view is None or self._states.checking:
            return False
        stage = view.download.state if view.download is not None else None
        return {
            "pair_load": (view.disk.ready or view.can_download) and not view.downloading,
            "pair_download": view.can_download and stage not in (Stage.PAUSED, Stage.FAILED),
            "pair_pause": view.downloading,
            "pair_resume": view.can_download and stage in (Stage.PAUSED, Stage.FAILED),
            "pair_cancel": view.downloading or stage in (Stage.PAUSED, Stage.FAILED),
        }[action]

    def action_pair_download(self) -> None:
        """Download the missing files."""
        self._change_download(self.downloads.start)

    def action_pair_pause(self) -> None:
        """Pause the download."""
        self._change_download(self.downloads.pause)

    def action_pair_resume(self) -> None:
        """Resume the download."""
        self._change_download(self.downloads.resume)

    def action_pair_cancel(self) -> None:
        """Cancel the download."""
        self._change_download(self.downloads.cancel)

    def action_pair_unload(self) -> None:
        """Unload the pair."""
        self._states.loaded = None
        self.post_message(self.Unload())
        self.update_views()

    def action_pair_load(self) -> None:
        """Check the files and return the pair; offer to download a pair that is not on this disk."""
        if self.view is not None and not self.view.disk.ready:
            self._offer_download(self.view)
        elif self.view is not None:
            name = self.view.entry.name
            self._states.begin_check(name)
            self.update_views()
            # Checking may read gigabytes. Not a Textual worker: the app would wait for it when quitting.
            threading.Thread(target=self._check, args=(name,), name="check files", daemon=True).start()

    def _offer_download(self, view: PairView) -> None:
        name = view.entry.name

        def done(confirmed: bool | None) -> None:
            if confirmed:
                self._states.clear_error(name)
                self.downloads.start(name)
                self.update_views()

        size = f" {human_bytes(view.total_bytes - view.bytes_on_disk)}" if view.total_bytes else ""
        question = f"{name} is not on this disk. Download{size} now?"
        self.app.push_screen(ConfirmScreen(question, "Download", "Cancel"), done)

    def _check(self, name: str) -> None:
        try:
            self.post_message(self._Checked(name, choose_pair(name)))
        except RStitchError as error:
            self.post_message(self._Checked(name, error))

    @on(_Checked)
    def _checked(self, event: _Checked) -> None:
        error = event.result if isinstance(event.result, RStitchError) else None
        self._states.end_check(event.name, error)
        if self.is_current and not isinstance(event.result, RStitchError):
            self.dismiss(event.result)
        self.update_views()

    def action_pair_files(self) -> None:
        """Choose two files."""

        def done(choice: PairChoice | None) -> None:
            if choice is not None:
                self.dismiss(choice)

        self.app.push_screen(TwoFilesScreen(), done)

    def _change_download(self, change: Callable[[str], None]) -> None:
        if self.view is not None:
            self._states.clear_error(self.view.entry.name)
            change(self.view.entry.name)
            self.update_views()
