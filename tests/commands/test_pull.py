"""`rstitch pull`: its output, and Ctrl-C."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from rstitch_local import paths
from rstitch_local.catalog import download
from rstitch_local.catalog.store import PairFiles
from rstitch_local.commands import pull as command
from rstitch_local.errors import DownloadError, ModelError

app = typer.Typer()
app.command()(command.pull)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))


def fake_pull(monkeypatch: pytest.MonkeyPatch, fault: BaseException | None = None) -> list[str]:
    pulled: list[str] = []

    def pull(entry: Any, *, progress: Any, **_: Any) -> PairFiles:
        pulled.append(entry.name)
        for file in entry.files:
            progress(file.file, 100_000_000, file.size)
            if fault is not None:
                raise fault
            progress(file.file, file.size or 2, file.size)
        return PairFiles(Path("models/small.gguf"), Path("models/large.gguf"))

    monkeypatch.setattr(download, "pull", pull)
    return pulled


def test_it_prints_the_paths_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = fake_pull(monkeypatch)
    result = CliRunner().invoke(app, ["qwen2.5-coder", "qwen3-8b", "qwen2.5-coder"])
    assert result.exit_code == 0
    assert pulled == ["qwen2.5-coder", "qwen3-8b"]
    assert result.stdout.splitlines()[:2] == [
        f"qwen2.5-coder: {Path('models/small.gguf')}",
        f"qwen2.5-coder: {Path('models/large.gguf')}",
    ]
    assert "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf: 100 MB of 491 MB on disk." in result.stderr
    assert "\x1b" not in result.stderr


def test_ctrl_c_says_how_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pull(monkeypatch, KeyboardInterrupt())
    result = CliRunner().invoke(app, ["qwen2.5-coder"])
    assert result.exit_code == 130
    assert "Run `rstitch pull qwen2.5-coder` to resume" in result.stderr


def test_download_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pull(monkeypatch, DownloadError("No connection", "the Hub cannot be reached."))
    assert isinstance(CliRunner().invoke(app, ["qwen3-8b"]).exception, DownloadError)


def test_an_unknown_name_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = fake_pull(monkeypatch)
    assert isinstance(CliRunner().invoke(app, ["qwen3-8b", "qwen3-9b"]).exception, ModelError)
    assert pulled == []


def test_local_files_need_no_network(tmp_path: Path) -> None:
    local = tmp_path / "tiny.gguf"
    local.write_bytes(b"a model")
    table = f"file = 'tiny.gguf'\npath = '{local}'\n"
    path = paths.user_catalog()
    path.parent.mkdir(parents=True)
    path.write_text(f"[mine]\n[mine.slm]\n{table}[mine.llm]\n{table}", encoding="utf-8")
    result = CliRunner().invoke(app, ["mine"])
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"mine: {local}\nmine: {local}\n"


def test_the_bars_fit_80_columns() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=80, color_system=None)
    bars = command._progress(screen)
    with bars:
        report = command._reporter(bars, screen)
        report("DeepSeek-R1-Distill-Qwen-14B-Q4_K_M.gguf", 1_234_567_890, 8_988_110_240)
        report("[bold]no-markup.gguf", 1, None)
        bars.refresh()
    shown = out.getvalue()
    assert "1.2/9.0 GB" in shown
    assert "[bold]no-markup.gguf" in shown
