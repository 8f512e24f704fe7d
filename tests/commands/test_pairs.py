"""`rstitch pairs`: as a table, as JSON, and with control characters in models.toml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rstitch_local import paths
from rstitch_local.catalog import store
from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.commands.pairs import pairs
from rstitch_local.errors import UsageError

app = typer.Typer()
app.command()(pairs)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")


def put(name: str) -> None:
    """Create both files of a pair in their sizes, as sparse files."""
    for file in load_catalog().get(name).files:
        path = store.path_of(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            out.truncate(file.size or 10)


def test_the_list_fits_80_columns() -> None:
    put("qwen3-8b")
    result = CliRunner().invoke(app)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "\x1b" not in result.stdout
    (longest,) = [line for line in lines if "DeepSeek-R1-Distill-Qwen-14B-Q4_K_M.gguf" in line]
    assert "8.99 GB" in longest
    first = next(i for i, line in enumerate(lines) if line.startswith("qwen3-8b"))
    assert "on disk" in lines[first]
    assert "on disk" in lines[first + 1]
    assert "8.4 GB" in lines[first + 1]
    assert "Apache-2.0" in lines[first + 2]


def test_without_files_it_recommends_a_download() -> None:
    assert "rstitch pull qwen2.5-coder" in CliRunner().invoke(app).stdout


def test_json() -> None:
    put("r1-7b")
    listed = {pair["name"]: pair for pair in json.loads(CliRunner().invoke(app, ["--json"]).stdout)["pairs"]}
    assert listed["r1-7b"]["on_disk"] is True
    assert listed["qwen3-8b"]["on_disk"] is False
    assert listed["qwen3-8b"]["llm"]["size"] == 5_027_783_488
    assert listed["qwen3-8b"]["llm"]["state"] == "missing"
    # r1-14b has the same small model; the file is shared.
    assert listed["r1-14b"]["slm"]["state"] == "on disk"
    assert listed["r1-14b"]["slm"]["path"] == listed["r1-7b"]["slm"]["path"]


def test_control_characters_and_markup_in_models_toml() -> None:
    path = paths.user_catalog()
    path.parent.mkdir(parents=True)
    path.write_text('[r1-7b.slm]\nlicence = "\\u001b[31m[bold]evil[/bold]"\n', encoding="utf-8")
    shown = CliRunner().invoke(app).stdout
    assert "\x1b" not in shown
    assert "[bold]" in shown  # not read as rich markup


def test_an_invalid_models_toml_is_a_usage_error() -> None:
    path = paths.user_catalog()
    path.parent.mkdir(parents=True)
    path.write_text("[r1-7b]\ntua = 1\n", encoding="utf-8")
    assert isinstance(CliRunner().invoke(app).exception, UsageError)


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys; import rstitch_local.commands.pairs, rstitch_local.commands.pull; "
        "print([m for m in ('pydantic', 'huggingface_hub', 'filelock', 'rich.progress') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
