"""The pairs of the catalogue: what is here, what fits, and how to get, load and free them.

Knows how downloads and files are shown and asked for; it loads nothing and does not know the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Footer, OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from rstitch_local.catalog import store
from rstitch_local.catalog.schema import PairEntry
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import human_bytes
from rstitch_tui import machine_fit
from rstitch_tui.downloads import Downloads, Stage
from rstitch_tui.keys import ACTIONS, binding, bindings
from rstitch_tui.machine_fit import Fit, Memory
from rstitch_tui.screens.confirm import Dialog
from rstitch_tui.screens.two_files import TwoFilesScreen
from rstitch_tui.widgets import pair_view
from rstitch_tui.widgets.pair_view import PairView, Row

_LOOK_EVERY_S = 0.25
"""How often the figures of a download are drawn; nothing waits for anything here."""


class PairList(OptionList):
    """The pairs. A click highlights one, so that one can read about it; two load it."""

    BINDINGS: ClassVar[list[BindingType]] = [binding("pair_load", "screen.pair_load")]

    async def on_click(self, event: events.Click) -> None:
        """The second of two quick clicks."""
        if event.chain == 2 and "option" in event.style.meta:
            await self.run_action("screen.pair_load")


class ModelsScreen(Dialog[PairChoice | None]):
    """Lists the pairs and gives back the one to load, its files checked; None when nothing is to change.

    Args:
        downloads: what brings pairs here, with its catalogue.
        loaded: the name of the pair that is in memory.
        gpu_free: free memory of graphics cards in bytes, as `machine_fit.gpu_memory` counts it.
    """

    class Unload(Message):
        """The user wants the memory of the loaded pair freed."""

    class _Checked(Message):
        """The files of a pair were looked at."""

        def __init__(self, name: str, result: PairChoice | RStitchError) -> None:
            super().__init__()
            self.name, self.result = name, result

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        Binding("escape", "dismiss(None)", "Close", id="models_close"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-wide")]  # noqa: RUF012  as Textual declares it

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
        & #details { width: 1fr; height: 100%; padding: 0 2; border-left: solid $panel; }
        & #details:focus { border-left: solid $primary; }
        & #details > Static { height: auto; margin-bottom: 1; padding-right: 1; }
        & ProgressBar { width: 100%; margin-bottom: 1; & Bar { width: 1fr; } }
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
        self.loaded = loaded
        self._gpu_free = gpu_free
        # What ships with the program comes first: it works at once.
        self._entries = sorted(downloads.catalogue, key=lambda entry: not all(file.builtin for file in entry.files))
        self._found = {entry.name: store.state(entry) for entry in self._entries}
        self._problems: dict[str, RStitchError] = {}
        self._checking = ""
        self._views: list[PairView] = []
        self._drawn: PairView | None = None
        self._offered: list[bool | None] = []
        self._short = False

    def compose(self) -> ComposeResult:
        """The list, and beside or under it what there is to know of the highlighted pair."""
        with Vertical(classes="box") as box:
            box.border_title = "Models"
            yield Static(
                "A small model writes, a large one takes over where it is unsure. Choose a pair to begin with.",
                id="intro",
                markup=False,
            )
            with Container(id="body"):
                yield PairList()
                with VerticalScroll(id="details"):
                    yield Static(id="headline", markup=False)
                    yield ProgressBar(id="bar", show_eta=False)
                    yield Static(id="trouble", markup=False)
                    yield Static(id="about", markup=False)
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin at the pair that is loaded, or at one that can be."""
        self._views = self._look()
        pairs = self._list
        pairs.add_options([Option(Row(view, short=self._short)) for view in self._views])
        first = next((view for view in self._views if view.loaded), None)
        first = first or next((view for view in self._views if view.found.ready), None)
        pairs.highlighted = self._views.index(first) if first is not None else (0 if self._views else None)
        pairs.focus()
        self.set_class(self.loaded is None, "-first")
        self._draw_details()
        self.set_interval(_LOOK_EVERY_S, self.look)

    @property
    def view(self) -> PairView | None:
        """The highlighted pair."""
        place = self._list.highlighted
        return self._views[place] if place is not None and place < len(self._views) else None

    def look(self) -> None:
        """Show how things stand now."""
        before, self._views = self._views, self._look()
        for place, (old, new) in enumerate(zip(before, self._views, strict=True)):
            if old != new:
                self._list.replace_option_prompt_at_index(place, Row(new, short=self._short))
        self._draw_details()

    @property
    def _list(self) -> PairList:
        return self.query_one(PairList)

    def _look(self) -> list[PairView]:
        memory = machine_fit.memory_now(self._gpu_free)
        self.query_one(".box").border_subtitle = Content(str(memory))
        loaded = next((entry for entry in self._entries if entry.name == self.loaded), None)
        freed = 0
        if loaded is not None:
            freed = machine_fit.needed_bytes(loaded, self._found[loaded.name]) or 0
        return [self._view_of(entry, memory, freed) for entry in self._entries]

    def _view_of(self, entry: PairEntry, memory: Memory, freed: int) -> PairView:
        download = self.downloads.state(entry.name)
        seen = next((view.download for view in self._views if view.entry is entry), None)
        if download is not None and (seen is None or seen.state is not download.state):
            self._found[entry.name] = store.state(entry)
        found = self._found[entry.name]
        needed = machine_fit.needed_bytes(entry, found)
        loaded = entry.name == self.loaded
        return PairView(
            entry=entry,
            found=found,
            download=download,
            loaded=loaded,
            needed=needed,
            fit=Fit.FITS if loaded else machine_fit.fit(needed, memory, freed=freed),
            needs=_taken(needed) if loaded else machine_fit.sentence(needed, memory, freed=freed),
            checking=entry.name == self._checking,
            problem=self._problems.get(entry.name),
        )

    def _draw_details(self) -> None:
        view = self.view
        offered = [self.check_action(row.id, ()) for row in ACTIONS if row.where == "list"]
        if offered != self._offered:  # a footer is made anew each time
            self._offered = offered
            self.refresh_bindings()
        if view is None or view == self._drawn:
            return
        drawn, self._drawn = self._drawn, view
        headline, trouble = self.query_one("#headline", Static), self.query_one("#trouble", Static)
        headline.update(pair_view.headline(view))
        self.query_one("#about", Static).update(pair_view.about(view))
        error = view.problem or (view.download.error if view.download is not None else None)
        trouble.display = error is not None
        if error is not None:
            trouble.update(pair_view.trouble(error))
        bar = self.query_one(ProgressBar)
        bar.display = view.at_work or (view.download is not None and view.download.state is Stage.PAUSED)
        if bar.display and view.download is not None:
            bar.update(total=view.download.total, progress=view.download.done)
        if drawn is None or drawn.entry is not view.entry:
            self.query_one("#details").scroll_home(animate=False)

    @on(PairList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._draw_details()

    def on_resize(self, event: events.Resize) -> None:
        """One line a pair where there are few lines."""
        short = event.size.height < 16
        if short is not self._short:
            self._short = short
            for place, view in enumerate(self._views):
                self._list.replace_option_prompt_at_index(place, Row(view, short=short))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  as Textual has it
        """Only what can be done with the highlighted pair is offered."""
        if not action.startswith("pair_"):
            return True
        view = self.view if self._views else None
        if action in ("pair_files", "pair_unload"):
            return action == "pair_files" or self.loaded is not None
        if view is None or self._checking:
            return False
        stage = view.download.state if view.download is not None else None
        return {
            "pair_load": view.found.ready and not view.at_work,
            "pair_download": view.can_download and stage not in (Stage.PAUSED, Stage.FAILED),
            "pair_pause": view.at_work,
            "pair_resume": view.can_download and stage in (Stage.PAUSED, Stage.FAILED),
            "pair_cancel": view.at_work or stage in (Stage.PAUSED, Stage.FAILED),
        }[action]

    def action_pair_download(self) -> None:
        """Download what is missing."""
        self._with_download(self.downloads.start)

    def action_pair_pause(self) -> None:
        """Pause the download."""
        self._with_download(self.downloads.pause)

    def action_pair_resume(self) -> None:
        """Go on with the download."""
        self._with_download(self.downloads.resume)

    def action_pair_cancel(self) -> None:
        """Stop the download."""
        self._with_download(self.downloads.cancel)

    def action_pair_unload(self) -> None:
        """Ask for the memory to be freed."""
        self.loaded = None
        self.post_message(self.Unload())
        self.look()

    def action_pair_load(self) -> None:
        """Check the files and give the pair back."""
        if self.view is not None:
            self._checking = name = self.view.entry.name
            self._problems.pop(name, None)
            self.look()
            # Gigabytes may have to be read. Not a worker of Textual's: the app would wait for it to end.
            threading.Thread(target=self._check, args=(name,), name="check files", daemon=True).start()

    def _check(self, name: str) -> None:
        try:
            self.post_message(self._Checked(name, choose_pair(name)))
        except RStitchError as error:
            self.post_message(self._Checked(name, error))

    @on(_Checked)
    def _checked(self, event: _Checked) -> None:
        self._checking = ""
        if isinstance(event.result, RStitchError):
            self._problems[event.name] = event.result
            self._found[event.name] = store.state(self.downloads.catalogue.get(event.name))
        elif self.is_current:
            self.dismiss(event.result)
        self.look()

    def action_pair_files(self) -> None:
        """Ask for two files."""

        def chosen(choice: PairChoice | None) -> None:
            if choice is not None:
                self.dismiss(choice)

        self.app.push_screen(TwoFilesScreen(), chosen)

    def _with_download(self, act: Callable[[str], None]) -> None:
        if self.view is not None:
            self._problems.pop(self.view.entry.name, None)
            act(self.view.entry.name)
            self.look()


def _taken(needed: int | None) -> str:
    return f"Takes {human_bytes(needed)} of memory." if needed else "How much memory it takes is not known."
