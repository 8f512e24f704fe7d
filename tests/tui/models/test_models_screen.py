"""The list of pairs by keys and mouse, with a test catalog and a Hub on loopback."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, ProgressBar

from rstitch_local import paths
from rstitch_local.catalog import store
from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.engine.choice import PairChoice
from rstitch_local.errors import DownloadError
from rstitch_tui import machine_fit
from rstitch_tui.download_state import DownloadState, Stage
from rstitch_tui.downloads import Downloads
from rstitch_tui.keys import resolve
from rstitch_tui.machine_fit import Memory
from rstitch_tui.screens.confirm import ConfirmScreen
from rstitch_tui.screens.models import ModelsScreen, PairList
from rstitch_tui.screens.two_files import TwoFilesScreen

SMALL = b"GGUF" + random.Random(1).randbytes(300_000)
LARGE = b"GGUF" + random.Random(2).randbytes(2_000_000)

MODELS = """
[gone]
title = "Gone 1B + 2B"
description = "Not [bold]here[/] \\u001b[31myet."
memory_gb = 3.0
slm = { file = "small.gguf", repo = "acme/models", size = %(small)d, licence = "MIT" }
llm = { file = "large.gguf", repo = "acme/models", size = %(large)d, licence = "Apache-2.0" }

[here]
title = "Here 1B + 2B"
memory_gb = 1.0
slm = { file = "a.gguf", path = "a.gguf" }
llm = { file = "b.gguf", path = "b.gguf", sha256 = "%(sum)s" }

[half]
memory_gb = 9.0
slm = { file = "x.gguf", repo = "acme/half", size = 1000 }
llm = { file = "y.gguf", repo = "acme/half", size = 3000 }

[nowhere]
memory_gb = 50.0
slm = { file = "m.gguf", path = "m.gguf" }
llm = { file = "n.gguf", path = "n.gguf" }

[mixed]
memory_gb = 1.0
slm = { file = "small.gguf", repo = "acme/mixed" }
llm = { file = "n.gguf", path = "n.gguf" }

[unsized]
slm = { file = "u.gguf", repo = "acme/unsized" }
llm = { file = "v.gguf", repo = "acme/unsized", size = 5_000_000 }

[ships]
title = "Ships 1M + 2M"
memory_gb = 0.01
slm = { file = "s.gguf", builtin = "s.gguf" }
llm = { file = "l.gguf", builtin = "l.gguf" }
"""
SUM_OF_B = "91dfb0ee8ba3d1e2b0b2d2ba0d0bb4f4d4ac8f0a4ac1f0c3e9c1b2f8c6a55f1e"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setattr(store, "BUILTIN_DIR", tmp_path)
    monkeypatch.setattr(machine_fit, "memory_now", lambda gpu_free: Memory(10_000_000_000, 16_000_000_000, gpu_free))
    config = paths.config_dir()
    config.mkdir()
    for name in ("a", "b"):
        (config / f"{name}.gguf").write_bytes(b"GGUF" + name.encode())
    for name in ("s", "l"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF" + name.encode() * 20)
    # The checksum of b.gguf is wrong here; tests that load it call `remove_checksum`.
    text = MODELS % {"small": len(SMALL), "large": len(LARGE), "sum": SUM_OF_B}
    paths.user_catalog().write_text(text, encoding="utf-8")
    (half, _) = (store.path_of(file) for file in load_catalog().get("half").files)
    half.parent.mkdir(parents=True)
    (half.parent / "x.gguf").write_bytes(bytes(1000))
    (half.parent / "y.gguf.hub.partial").write_bytes(bytes(500))
    return tmp_path


def remove_checksum() -> None:
    """Remove the wrong checksum of b.gguf."""
    path = paths.user_catalog()
    text = path.read_text(encoding="utf-8").replace(f', sha256 = "{SUM_OF_B}"', "")
    path.write_text(text, encoding="utf-8")


class Scripted(Downloads):
    """Downloads that transfer nothing: calls are recorded, states are set by the test."""

    def __init__(self) -> None:
        empty = paths.config_dir() / "empty.toml"
        empty.write_text("")
        super().__init__(load_catalog(shipped=empty))
        self.calls: list[tuple[str, str]] = []
        self.progress: dict[str, DownloadState] = {}

    def start(self, name: str) -> None:
        self.calls.append(("start", name))

    def pause(self, name: str) -> None:
        self.calls.append(("pause", name))

    def resume(self, name: str) -> None:
        self.calls.append(("resume", name))

    def cancel(self, name: str) -> None:
        self.calls.append(("cancel", name))

    def state(self, name: str) -> DownloadState | None:
        return self.progress.get(name)


class Shell(App[None]):
    """An app with only this screen."""

    def __init__(self, downloads: Downloads, loaded: str | None) -> None:
        super().__init__()
        self.models = ModelsScreen(downloads, loaded=loaded)
        self.chosen: list[PairChoice | None] = []
        self.unloads = 0

    def on_mount(self) -> None:
        self.push_screen(self.models, self.chosen.append)

    def on_models_screen_unload(self) -> None:
        self.unloads += 1

    @property
    def text(self) -> str:
        """The text on the screen."""
        strips = self.screen._compositor.render_strips(self.screen.size)
        return "\n".join(strip.text for strip in strips)

    @property
    def details(self) -> str:
        """The details of the highlighted pair, on one line."""
        region = self.models.query_one("#details").content_region
        strips = self.screen._compositor.render_strips(self.screen.size)[region.y : region.bottom]
        return " ".join(" ".join(strip.crop(region.x, region.right).text for strip in strips).split())

    @property
    def offered(self) -> list[str]:
        """The actions in the footer."""
        bindings = self.screen.active_bindings.values()
        return [active.binding.description for active in bindings if active.binding.show and active.enabled]

    def go_to(self, name: str) -> None:
        """Highlight a pair."""
        pairs = self.models.query_one(PairList)
        pairs.highlighted = [entry.name for entry in self.models._states.entries].index(name)


Flow = Callable[[Shell, "Pilot[None]"], Awaitable[None]]


def run(
    flow: Flow, downloads: Downloads | None = None, *, loaded: str | None = None, size: tuple[int, int] = (140, 45)
) -> Shell:
    """Run the app and the steps of a test."""
    app = Shell(downloads or Scripted(), loaded)

    async def go() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await flow(app, pilot)

    asyncio.run(go())
    return app


async def until(pilot: Pilot[None], reached: Callable[[], bool]) -> None:
    """Poll until a condition is true."""
    for _ in range(2000):
        if reached():
            return
        await pilot.pause(0.01)
    raise AssertionError("condition never became true")


@pytest.mark.parametrize("size", [(140, 45), (80, 24)])
def test_state_of_each_pair_is_listed(home: Path, size: tuple[int, int]) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        del pilot
        lines = app.text.splitlines()
        order = [line.split("│")[1].split()[0] for line in lines if "│" in line and line.split("│")[1].strip()]
        names = [name for name in order if name in ("gone", "here", "half", "nowhere", "mixed", "unsized", "ships")]
        assert names == ["ships", "gone", "here", "half", "nowhere", "mixed", "unsized"]

        def row(name: str) -> str:
            index = next(i for i, line in enumerate(lines) if f"  {name} " in line)
            return " ".join(line[1 : size[0] // 2] for line in lines[index : index + 2])

        for name, words in {
            "ships": ["built in", "fits", "Ships 1M + 2M"],
            "gone": ["2.3 MB", "missing", "fits", "Gone 1B + 2B"],
            "here": ["on disk", "fits"],
            "half": ["4 kB", "partial 38%", "tight"],
            "nowhere": ["missing", "too large"],
            "unsized": ["5 MB+", "size unknown"],
        }.items():
            for word in words:
                assert word in row(name), (name, word)
        assert "10.0 GB of 16.0 GB memory free" in app.text

    run(flow, size=size)


def test_details_of_a_pair(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        async def details_of(name: str) -> str:
            app.go_to(name)
            await pilot.pause()
            return app.details

        assert "Included in rstitch." in await details_of("ships")
        gone = await details_of("gone")
        for words in ("Not on disk: 2.3 MB to download.", "Needs 3.00 GB of memory, which fits.", "small.gguf", "MIT"):
            assert words in gone
        assert "Apache-2.0" in gone
        assert "1.5 kB of 4 kB on disk." in await details_of("half")
        assert "nearly all of the free memory" in await details_of("half")
        assert "more than this machine has" in await details_of("nowhere")
        assert "Not on disk: more than 5 MB to download." in await details_of("unsized")
        assert "has no source to download it from" in await details_of("nowhere")

    run(flow)


def test_catalog_texts_are_not_markup(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("gone")
        await pilot.pause()
        assert "Not [bold]here[/] [31myet." in app.text
        assert "\x1b" not in app.text

    run(flow)


@pytest.mark.parametrize("name", ["gone", "half", "nowhere", "mixed"])
def test_missing_pair_is_not_loaded(home: Path, name: str) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to(name)
        await pilot.pause()
        can_download = name in ("gone", "half")
        assert ("Download" in app.offered, "Load" in app.offered) == (can_download, can_download)
        await pilot.press("enter")
        await pilot.pause()
        if can_download:
            assert isinstance(app.screen, ConfirmScreen)
            assert f"{name} is not on this disk. Download" in app.text
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.models)
        assert app.screen is app.models
        assert all(view.download is None for view in app.models._views)

    assert run(flow).chosen == []


def test_enter_returns_the_pair_with_its_files(home: Path) -> None:
    del home
    remove_checksum()

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("here")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not app.models)

    (choice,) = run(flow).chosen
    assert choice is not None
    assert (choice.name, choice.slm.name, choice.llm.name) == ("here", "a.gguf", "b.gguf")


def test_damaged_file_is_reported_and_the_screen_stays(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("here")
        await pilot.press("enter")
        await until(pilot, lambda: "Damaged model file" in app.text)
        assert "b.gguf" in app.text
        # Another pair does not show the error, and this one can be tried again.
        app.go_to("ships")
        await pilot.pause()
        assert "Damaged model file" not in app.text
        app.go_to("here")
        await pilot.pause()
        assert "Damaged model file" in app.text
        assert "Load" in app.offered

    assert run(flow).chosen == []


def test_escape_returns_none(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is not app.models

    assert run(flow).chosen == [None]


STAGES = {
    None: (["Load", "Download"], []),
    Stage.WAITING: (["Pause", "Cancel"], [("p", "pause"), ("c", "cancel")]),
    Stage.RUNNING: (["Pause", "Cancel"], [("p", "pause"), ("c", "cancel")]),
    Stage.CHECKING: (["Pause", "Cancel"], [("p", "pause"), ("c", "cancel")]),
    Stage.PAUSED: (["Load", "Resume", "Cancel"], [("r", "resume"), ("c", "cancel")]),
    Stage.FAILED: (["Load", "Resume", "Cancel"], [("r", "resume"), ("c", "cancel")]),
    Stage.CANCELLED: (["Load", "Download"], [("d", "start")]),
}


@pytest.mark.parametrize("stage", STAGES)
def test_only_possible_actions_are_offered(home: Path, stage: Stage | None) -> None:
    del home
    downloads = Scripted()
    offered, keys = STAGES[stage]
    if stage is not None:
        downloads.progress["gone"] = DownloadState("gone", state=stage)

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("gone")
        await pilot.pause()
        assert app.offered == [*offered, "Two files", "Close"]
        await pilot.press("d", "p", "r", "c", "u")

    app = run(flow, downloads)
    expected = [(call, "gone") for _, call in keys] if stage is not None else [("start", "gone")]
    assert downloads.calls == expected
    assert app.unloads == 0


def test_download_progress_is_drawn(home: Path) -> None:
    del home
    downloads = Scripted()

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("gone")
        bar = app.models.query_one(ProgressBar)
        assert not bar.display
        state = DownloadState("gone", "large.gguf", 1_000_000, 4_000_000, 25_000.0, Stage.RUNNING)
        downloads.progress["gone"] = state
        await until(pilot, lambda: "↓ 25%" in app.text)  # drawn by the timer of the screen
        assert "1 MB of 4 MB · 25 kB/s · 2 min 00 s left" in app.details
        assert bar.display
        assert bar.percentage == 0.25
        downloads.progress["gone"] = DownloadState("gone", done=1_000_000, total=4_000_000, state=Stage.CANCELLED)
        app.models.update_views()
        await pilot.pause()
        assert "Cancelled. 1 MB are kept; the next download resumes there." in app.details
        assert not bar.display
        downloads.progress["unsized"] = DownloadState("unsized", "u.gguf", 2_000_000, None, 0.0, Stage.RUNNING)
        app.go_to("unsized")
        app.models.update_views()
        await pilot.pause()
        assert "↓ 2 MB" in app.text
        assert bar.percentage is None

    run(flow, downloads)


def test_download_error_is_shown(home: Path) -> None:
    del home
    downloads = Scripted()
    error = DownloadError("No connection", "the [bold]Hub\x1b[2J cannot be reached.", "Check the network.")
    downloads.progress["gone"] = DownloadState("gone", state=Stage.FAILED, error=error)

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("gone")
        await pilot.pause()
        for words in ("failed", "No connection", "the [bold]Hub[2J cannot be reached.", "Check the network."):
            assert words in app.details or words in app.text
        assert "\x1b" not in app.text

    run(flow, downloads)


def test_pair_is_downloaded_and_loaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    files = {"acme/models/small.gguf": SMALL, "acme/models/large.gguf": LARGE}
    with FakeHub(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        downloads = Downloads(load_catalog())

        async def flow(app: Shell, pilot: Pilot[None]) -> None:
            app.go_to("gone")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
            await pilot.press("left", "enter")
            await until(pilot, lambda: "On this disk, 2.3 MB." in app.text)
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is not app.models)

        (choice,) = run(flow, downloads).chosen
        downloads.close(wait_s=20)
    assert choice is not None
    assert choice.llm.read_bytes() == LARGE


def test_loaded_pair_is_marked_and_can_be_unloaded(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        assert app.models.view is not None
        assert app.models.view.entry.name == "here"
        assert "● here" in app.text
        assert "Loaded: you can chat with it." in app.text
        await pilot.press("u")
        await pilot.pause()
        assert app.unloads == 1
        assert "● here" not in app.text
        assert "Unload" not in app.offered

    run(flow, loaded="here")


def test_two_loaded_files_can_be_unloaded(home: Path) -> None:
    del home

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "u Unload" in app.text)
        await pilot.press("u")
        await until(pilot, lambda: "u Unload" not in app.text)
        assert app.unloads == 1

    run(flow, loaded="a.gguf + b.gguf")


def test_click_selects_and_double_click_loads(home: Path) -> None:
    del home
    remove_checksum()

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        index = next(i for i, line in enumerate(app.text.splitlines()) if "  here " in line)
        await pilot.click(offset=(10, index))
        await pilot.pause()
        assert app.models.view is not None
        assert app.models.view.entry.name == "here"
        assert app.models._states.checking == ""
        assert app.screen is app.models
        await pilot.click(offset=(10, index), times=2)
        await until(pilot, lambda: app.screen is not app.models)

    (choice,) = run(flow).chosen
    assert choice is not None
    assert choice.name == "here"


def test_click_on_the_footer_presses_its_key(home: Path) -> None:
    del home
    downloads = Scripted()

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.go_to("gone")
        await until(pilot, lambda: "d Download" in app.text)
        lines = app.text.splitlines()
        index = next(i for i, line in enumerate(lines) if "d Download" in line)
        await pilot.click(offset=(lines[index].index("Download"), index))
        await until(pilot, lambda: bool(downloads.calls))

    run(flow, downloads)
    assert downloads.calls == [("start", "gone")]


def test_remapped_keys(home: Path) -> None:
    del home
    remove_checksum()
    downloads = Scripted()

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        app.set_keymap(resolve({"pair_download": "g", "pair_load": "space"}))
        app.go_to("gone")
        await pilot.press("d", "g")
        app.go_to("here")
        await pilot.press("enter")
        await pilot.pause()
        assert app.models._states.checking == ""
        await pilot.press("space")
        await until(pilot, lambda: app.screen is not app.models)

    assert len(run(flow, downloads).chosen) == 1
    assert downloads.calls == [("start", "gone")]


def test_tiny_terminal(home: Path) -> None:
    del home
    downloads = Scripted()
    downloads.progress["gone"] = DownloadState("gone", "large.gguf", 1_000_000, 4_000_000, 25_000.0, Stage.RUNNING)

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        await pilot.pause()
        for words in ("gone", "↓ 25%", "Gone 1B + 2B", "25 kB/s", "Pause", "Close"):
            assert words in app.text
        # One line per pair: the next one is directly below.
        lines = app.text.splitlines()
        index = next(i for i, line in enumerate(lines) if "gone" in line)
        assert "here" in lines[index + 1]
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "needs 3.00 GB" in app.text or "Gone 1B + 2B" in app.text.split("gone", 1)[1].split("here", 1)[0]

    run(flow, downloads, size=(40, 10))


def test_empty_catalog(home: Path) -> None:
    del home
    paths.user_catalog().write_text("")

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("enter", "d", "u", "down")
        await pilot.pause()
        assert app.offered == ["Two files", "Close"]

    run(flow)


@pytest.fixture
def files(home: Path) -> Path:
    folder = home / "my models"
    folder.mkdir()
    (folder / "small.gguf").write_bytes(SMALL[:1000])
    (folder / "large.gguf").write_bytes(LARGE[:1000])
    (folder / "letter.txt").write_text("Dear Ada")
    return folder


def test_two_files(files: Path) -> None:
    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, TwoFilesScreen))
        app.screen.query_one("#slm", Input).value = str(files / "small.gguf")
        await pilot.press("enter")
        assert "No path" not in app.text
        app.screen.query_one("#llm", Input).value = str(files / "large.gguf")
        await pilot.press("enter")
        await until(pilot, lambda: bool(app.chosen))

    (choice,) = run(flow).chosen
    assert choice is not None
    assert (choice.slm, choice.llm) == (files / "small.gguf", files / "large.gguf")
    assert choice.name == "small.gguf + large.gguf"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No path"),
        ("none.gguf", "Cannot read file"),
        (".", "Not a file"),
        ("letter.txt", "Not a GGUF file"),
        ("nul\x00.gguf", "Cannot read file"),
        ("x" * 5000, "Cannot read file"),
    ],
)
def test_invalid_files(files: Path, name: str, message: str) -> None:
    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, TwoFilesScreen))
        app.screen.query_one("#slm", Input).value = str(files / "small.gguf")
        app.screen.query_one("#llm", Input).value = str(files / name) if name else ""
        await pilot.click("#load")
        await pilot.pause()
        assert isinstance(app.screen, TwoFilesScreen)
        assert app.focused is app.screen.query_one("#llm")
        assert message in app.text
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.models)

    assert run(flow).chosen == []


def test_path_completion(files: Path) -> None:
    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, TwoFilesScreen))
        field = app.screen.query_one("#slm", Input)
        for start, whole in (("my", "my models/"), ("my models/s", "my models/small.gguf")):
            field.value = f"{files.parent}/{start}"
            field.action_end()
            await until(pilot, lambda whole=whole: field._suggestion.endswith(whole))  # type: ignore[misc]
            await pilot.press("right")
            assert field.value == f"{files.parent}/{whole}"
        field.value = f"{files}/le"
        await pilot.pause()
        assert field._suggestion == ""

    run(flow)


def test_broken_download_record_is_ignored(home: Path) -> None:
    del home
    file = load_catalog().get("gone").slm
    path = store.path_of(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".json").write_text(json.dumps([1]))

    async def flow(app: Shell, pilot: Pilot[None]) -> None:
        del pilot
        assert "gone" in app.text

    run(flow)
