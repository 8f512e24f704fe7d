"""`rstitch doctor`, on a machine without and with a pair."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstitch_local import __version__
from rstitch_local.commands import doctor
from rstitch_local.commands.main import app
from rstitch_local.llama import library


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_without_pairs_it_recommends_a_download(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert f"rstitch {__version__}" in done.stdout
    assert library.build().binding in done.stdout
    assert "GPU offload" in done.stdout
    assert "qwen2.5-coder" in done.stdout
    assert "Recommendations" in done.stdout
    assert str(home) in done.stdout
    assert "\x1b" not in done.stdout
    # It creates no folder.
    assert not home.exists()


def test_json_is_one_object(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["rstitch"] == __version__
    assert report["llama"]["version"] == library.build().llama_cpp
    assert report["llama"]["gpu_offload"] == library.build().gpu_offload
    assert {"name", "kind", "free_bytes", "total_bytes", "description"} <= set(report["devices"][0])
    assert {name: folder["writable"] for name, folder in report["folders"].items()} == {
        "config": True, "models": True, "data": True,
    }  # fmt: skip
    assert Path(report["folders"]["models"]["path"]).is_relative_to(home)
    assert {pair["ready"] for pair in report["pairs"] if pair["name"] != "demo"} == {False}


def test_pairs_of_models_toml_are_listed(home: Path, tmp_path: Path) -> None:
    for name in ("small.gguf", "large.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (home / "config").mkdir(parents=True)
    files = "".join(
        f'{role} = {{ file = "{file}", path = {json.dumps(str(tmp_path / file))} }}\n'
        for role, file in (("slm", "small.gguf"), ("llm", "large.gguf"))
    )
    (home / "config" / "models.toml").write_text(f"[mine]\n{files}")
    report = doctor.examine()
    mine = next(pair for pair in report["pairs"] if pair["name"] == "mine")
    # The files are not valid GGUF files, so the memory is unknown.
    assert mine == {"name": "mine", "ready": True, "state": "ready", "memory": None}
    assert not any("rstitch pull" in advice for advice in report["advice"])


def test_the_memory_for_solving_is_reported(home: Path) -> None:  # noqa: ARG001
    demo = next(pair for pair in doctor.examine()["pairs"] if pair["name"] == "demo")
    memory = demo["memory"]
    assert memory["slots"] == 16
    assert memory["total"] == memory["weights"] + memory["caches"] + memory["work"]
    assert 2_500_000 < memory["weights"] < 4_000_000
    assert "for 16 concurrent answers" in CliRunner().invoke(app, ["doctor"]).stdout


@pytest.mark.usefixtures("home")
def test_an_unwritable_folder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    report = doctor.examine()
    assert not any(folder["writable"] for folder in report["folders"].values())
    assert sum("RSTITCH_HOME" in advice for advice in report["advice"]) == 3
    assert "NOT WRITABLE" in CliRunner().invoke(app, ["doctor"]).stdout


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("amx", "gpu", "word"), [(True, True, "AMX"), (False, False, "GPU"), (False, True, "")])
def test_advice_depends_on_the_build(monkeypatch: pytest.MonkeyPatch, amx: bool, gpu: bool, word: str) -> None:
    build = library.Build("llama-cpp-python 1", "b1", ("AVX2", "AMX_INT8") if amx else ("AVX2",), gpu, True)
    monkeypatch.setattr(library, "build", lambda: build)
    advice = [line for line in doctor.examine()["advice"] if "docs/install.md" in line]
    assert len(advice) == (1 if word else 0)
    assert all(word in line for line in advice)
