"""The details of the highlighted pair, beside or below the list of pairs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import ProgressBar, Static

from rstitch_tui.download_state import Stage
from rstitch_tui.widgets import pair_view
from rstitch_tui.widgets.pair_view import PairView


class PairDetails(VerticalScroll):
    """Headline, progress of the download, error and description of one pair."""

    DEFAULT_CSS = """
    PairDetails {
        width: 1fr; height: 100%; padding: 0 2; border-left: solid $panel;
        &:focus { border-left: solid $primary; }
        & > Static { height: auto; margin-bottom: 1; padding-right: 1; }
        & ProgressBar { width: 100%; margin-bottom: 1; & Bar { width: 1fr; } }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._drawn: PairView | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="headline", markup=False)
        yield ProgressBar(id="bar", show_eta=False)
        yield Static(id="error", markup=False)
        yield Static(id="about", markup=False)

    def show(self, view: PairView) -> None:
        """Draw a pair, unless nothing has changed."""
        if view == self._drawn:
            return
        drawn, self._drawn = self._drawn, view
        self.query_one("#headline", Static).update(pair_view.headline(view))
        self.query_one("#about", Static).update(pair_view.about(view))
        error, message = view.error, self.query_one("#error", Static)
        if error is None and view.download is not None:
            error = view.download.error
        message.display = error is not None
        if error is not None:
            message.update(pair_view.error_text(error))
        bar = self.query_one(ProgressBar)
        bar.display = view.downloading or (view.download is not None and view.download.state is Stage.PAUSED)
        if bar.display and view.download is not None:
            bar.update(total=view.download.total, progress=view.download.done)
        if drawn is None or drawn.entry is not view.entry:
            self.scroll_home(animate=False)
