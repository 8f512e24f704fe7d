"""Asks for two GGUF files of this disk, a small and a large model.

Knows how to find and complete paths; whether the two can work together is said when they are loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Button, Label, Static

from rstitch_local import paths
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.errors import ModelError, RStitchError
from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.screens.confirm import Dialog, Line
from rstitch_tui.widgets.pair_view import trouble

_MAGIC = b"GGUF"


class PathSuggester(Suggester):
    """Completes a path with the first folder or GGUF file that fits."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The path with the rest of one name added, or None."""
        folder, slash, start = value.rpartition("/")
        if not value or not start:
            return None
        place = paths.expanded(f"{folder}{slash}" or ".")
        try:
            names = sorted(
                f"{found.name}/" if found.is_dir() else found.name
                for found in place.iterdir()
                if found.name.startswith(start) and (found.suffix == ".gguf" or found.is_dir())
            )
        except OSError:
            return None
        name = next((name for name in names if safe_text(name) == name), None)
        return None if name is None else f"{folder}{slash}{name}"


class TwoFilesScreen(Dialog[PairChoice | None]):
    """Gives back the pair of two files, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="files_close"),
        Binding("down", "app.focus_next", "Next", show=False, id="files_next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="files_previous"),
    ]

    DEFAULT_CSS = """
    TwoFilesScreen {
        & > .box { height: auto; max-height: 100%; max-width: 90; padding: 1 2; overflow-y: auto; }
        & Label { color: $text-muted; }
        & Line { border: none; height: 1; padding: 0 1; margin-bottom: 1; background: $panel; }
        & Line:focus { background: $primary 30%; }
        & #trouble { height: auto; margin-bottom: 1; }
        &.-tiny > .box { padding: 0 1; }
        &.-tiny Line { margin-bottom: 0; }
        &.-tiny .buttons { height: 1; }
        &.-tiny .buttons Button { height: 1; border: none; }
    }
    """

    def compose(self) -> ComposeResult:
        """Two fields and two buttons."""
        with Vertical(classes="box") as box:
            box.border_title = "Two files"
            yield Label("Small model (SLM), which writes")
            yield Line(id="slm", placeholder="~/models/small.gguf")
            yield Label("Large model (LLM), which helps")
            yield Line(id="llm", placeholder="~/models/large.gguf")
            yield Static(id="trouble", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content("Load"), id="load", variant="primary")
                yield Button(Content("Cancel"), id="cancel")

    def on_mount(self) -> None:
        """Begin with the small model."""
        for field in self.query(Line):
            field.suggester = PathSuggester()
        self.query_one("#trouble").display = False
        self.query_one("#slm").focus()

    @on(Line.Submitted)
    def _submitted(self, event: Line.Submitted) -> None:
        other = self.query_one("#llm", Line)
        if event.input.id == "slm" and not other.value.strip():
            other.focus()
        else:
            self._load()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "load":
            self._load()
        else:
            self.dismiss(None)

    def _load(self) -> None:
        for name in ("slm", "llm"):
            field = self.query_one(f"#{name}", Line)
            try:
                _require_gguf(field.value.strip())
            except RStitchError as error:
                said = self.query_one("#trouble", Static)
                said.update(trouble(error))
                said.display = True
                field.focus()
                return
        slm, llm = (_path(self.query_one(f"#{name}", Line).value.strip()) for name in ("slm", "llm"))
        self.dismiss(choose_pair(slm=slm, llm=llm))


def _path(text: str) -> Path:
    return paths.expanded(text).absolute()


def _require_gguf(text: str) -> None:
    """Raise ModelError unless this is the path of a file that begins like a GGUF file."""
    if not text:
        raise ModelError("No file", "Give the paths of both files.", "The right arrow completes a path.")
    path = _path(text)
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise ModelError("Not a file", f"{path} is a folder, or no file at all.")
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError("Cannot read the file", f"{one_line(path, 200)}: {error.strerror or error}.") from None
    if magic != _MAGIC:
        raise ModelError("Not a GGUF file", f"{path} does not begin like one.")
