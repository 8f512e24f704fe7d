"""The dialog that chooses two GGUF files from this disk.

Whether the two models can be used together is checked when they are loaded.
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
from rstitch_local.files import exists, is_file, open_regular
from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.widgets.line_input import LineInput
from rstitch_tui.widgets.pair_view import error_text

_MAGIC = b"GGUF"


class PathSuggester(Suggester):
    """Completes a path with the first matching folder or GGUF file."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        folder, slash, start = value.rpartition("/")
        if not value or not start:
            return None
        directory = paths.expanded(f"{folder}{slash}" or ".")
        try:
            names = sorted(
                f"{path.name}/" if path.is_dir() else path.name
                for path in directory.iterdir()
                if path.name.startswith(start) and (path.suffix == ".gguf" or path.is_dir())
            )
        except (OSError, ValueError):
            return None
        name = next((name for name in names if safe_text(name) == name), None)
        return None if name is None else f"{folder}{slash}{name}"


class TwoFilesScreen(Dialog[PairChoice | None]):
    """Returns the pair of two files, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="files_close"),
        Binding("down", "app.focus_next", "Next", show=False, id="files_next"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="files_previous"),
    ]

    DEFAULT_CSS = """
    TwoFilesScreen {
        & > .box { height: auto; max-height: 100%; max-width: 90; padding: 1 2; overflow-y: auto; }
        & Label { color: $text-muted; }
        & LineInput { border: none; height: 1; padding: 0 1; margin-bottom: 1; background: $panel; }
        & LineInput:focus { background: $primary 30%; }
        & #error { height: auto; margin-bottom: 1; }
        &.-tiny > .box { padding: 0 1; }
        &.-tiny LineInput { margin-bottom: 0; }
        &.-tiny .buttons { height: 1; }
        &.-tiny .buttons Button { height: 1; border: none; }
    }
    """

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Two files"
            yield Label("Small model (SLM)")
            yield LineInput(id="slm", placeholder="~/models/small.gguf")
            yield Label("Large model (LLM)")
            yield LineInput(id="llm", placeholder="~/models/large.gguf")
            yield Static(id="error", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content("Load"), id="load", variant="primary")
                yield Button(Content("Cancel"), id="cancel")

    def on_mount(self) -> None:
        for field in self.query(LineInput):
            field.suggester = PathSuggester()
        self.query_one("#error").display = False
        self.query_one("#slm").focus()

    @on(LineInput.Submitted)
    def _submitted(self, event: LineInput.Submitted) -> None:
        other = self.query_one("#llm", LineInput)
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
            field = self.query_one(f"#{name}", LineInput)
            try:
                _require_gguf(field.value.strip())
            except RStitchError as error:
                message = self.query_one("#error", Static)
                message.update(error_text(error))
                message.display = True
                field.focus()
                return
        slm, llm = (_path(self.query_one(f"#{name}", LineInput).value.strip()) for name in ("slm", "llm"))
        self.dismiss(choose_pair(slm=slm, llm=llm))


def _path(text: str) -> Path:
    return paths.expanded(text).absolute()


def _require_gguf(text: str) -> None:
    """Raise ModelError unless `text` is the path of a file with the GGUF magic."""
    if not text:
        raise ModelError("No path", "Two paths are required.", "Type both paths; the right arrow key completes them.")
    path = _path(text)
    if exists(path) and not is_file(path):
        raise ModelError("Not a file", f"{path} is not a regular file.", "Choose a GGUF file.")
    try:
        with open_regular(path) as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError("Cannot read file", f"{one_line(path, 200)}: {error.strerror or error}.") from None
    if magic != _MAGIC:
        raise ModelError("Not a GGUF file", f"{path} has no GGUF header.", "Choose a GGUF file.")
