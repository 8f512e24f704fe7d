"""Files written by version 0.1 open and resume.

The samples were written by that version with the demo pair. Each test works on a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.costs.store import read_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import choose_pair
from rstitch_local.routing.policy_file import read_policy
from rstitch_tui import app_settings
from rstitch_tui.store import Store

SAMPLES = Path(__file__).parent / "samples" / "v0.1"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the samples; its `home` is the user's folder."""
    folder = tmp_path / "old"
    shutil.copytree(SAMPLES, folder)
    monkeypatch.setenv("RSTITCH_HOME", str(folder / "home"))
    return folder


def rstitch(folder: Path, *arguments: str) -> str:
    """Run a command in `folder` and return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "rstitch_local", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "router", "before", "after"), [("run", "entropy:0.005", 2, 4), ("run-learned", "learned:demo", 1, 2)]
)
def test_a_run_folder_resumes(old: Path, name: str, router: str, before: int, after: int) -> None:
    answers, traces = old / name / "answers.jsonl", old / name / "traces.jsonl"
    written = answers.read_bytes()
    assert len(rows(answers)) == before
    # A run that older rules graded resumes once its answers have been graded again.
    rstitch(old, "grade", name)
    assert answers.read_bytes() == written
    command = ["solve", "problems.jsonl", "--pair", "demo", "--out", name, "--router", router, "--parallel", "1"]
    rstitch(old, *command, "--limit", str(after))
    assert answers.read_bytes().startswith(written)
    assert len(rows(answers)) == len(rows(traces)) == after
    # Old and new rows have the same fields.
    assert rows(answers)[0].keys() == rows(answers)[-1].keys()
    assert rows(traces)[0].keys() == rows(traces)[-1].keys()
    assert rows(traces)[0]["steps"].keys() == rows(traces)[-1]["steps"].keys()  # type: ignore[attr-defined]


def test_an_old_run_is_graded_again(old: Path) -> None:
    summary = json.loads(rstitch(old, "grade", "run", "--json"))
    assert summary["problems"] == 2


@pytest.mark.parametrize(
    "arguments", [("run", "demo-02"), ("ask.json",), ("trace.json",), ("chat.json",)], ids=lambda value: value[0]
)
def test_old_tokens_are_shown(old: Path, arguments: tuple[str, ...]) -> None:
    shown = rstitch(old, "trace", *arguments, "--html", "page.html")
    assert (old / "page.html").stat().st_size > 10_000
    assert "SLM" in shown or "page.html" in shown


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        (("bench", "--router", "slm", "--router", "entropy:0.005"), "bench"),
        (("study", "entropy"), "entropy"),
        (("study", "agreement"), "agreement"),
    ],
    ids=["bench", "entropy", "agreement"],
)
def test_a_finished_study_is_reported_again_with_the_same_values_without_generating(
    old: Path, command: tuple[str, ...], folder: str
) -> None:
    before = {path: path.read_bytes() for path in sorted((old / folder).rglob("answers.jsonl"))}
    for path in before:
        # Graded with older rules; the verdicts are the same.
        rstitch(old, "grade", str(path.parent.relative_to(old)))
    split = 1 if command[0] == "bench" else 2
    options = ["--pair", "demo", "--out", folder, "--limit", "2"]
    rstitch(old, *command[:split], "problems.jsonl", *command[split:], *options)
    assert before
    assert before == {path: path.read_bytes() for path in sorted((old / folder).rglob("answers.jsonl"))}
    assert (old / folder / "report.md").is_file()
    (new,) = (old / folder).glob("*.json") if folder != "bench" else [old / folder / "figures.json"]
    published = json.loads((SAMPLES / folder / new.name).read_text(encoding="utf-8"))
    values = json.loads(new.read_text(encoding="utf-8"))
    assert list(values) == list(published)
    # Sentences change; the default tau of the pair is another one in the user's catalog of the samples.
    for name in ("plain_words", "measured", "tau", "thresholds"):
        published.pop(name, None)
        values.pop(name, None)
    assert_close(values, published)


def assert_close(value: object, expected: object) -> None:
    """Compare JSON values; numbers may differ by 1e-9."""
    if isinstance(expected, dict):
        assert isinstance(value, dict)
        assert list(value) == list(expected)
        for key in expected:
            assert_close(value[key], expected[key])
    elif isinstance(expected, list):
        assert isinstance(value, list)
        for one, other in zip(value, expected, strict=True):
            assert_close(one, other)
    else:
        assert value == (pytest.approx(expected, abs=1e-9) if isinstance(expected, float) else expected)


def test_an_old_calibration_opens(old: Path) -> None:
    (path,) = (old / "home" / "cache" / "calibrations").glob("*.json")
    latency = read_calibration(path).latency
    assert all(latency.of(role).turn_ms(1, 100) > 0 for role in Role)


def test_an_old_router_opens(old: Path) -> None:
    assert read_policy(old / "router.safetensors").score is not None


@pytest.mark.usefixtures("old")
def test_old_settings_open() -> None:
    settings = app_settings.load()
    assert (settings.theme, settings.router, settings.mouse) == ("nord", "window:8:0.003", False)
    assert settings.keys == {"send": "ctrl+j", "newline": "enter"}


def test_an_old_catalog_and_a_tuned_router_open(old: Path) -> None:
    catalog = load_catalog()
    assert (catalog.get("mine").tau, catalog.get("qwen2.5-coder").tau) == (0.01, 0.03)
    assert choose_pair("demo").defaults.router == "stay:4:0.1"
    assert (old / "home" / "config" / "tuned.toml").is_file()


def test_old_chats_open(old: Path) -> None:
    exported = json.loads((old / "chat.json").read_text(encoding="utf-8"))
    with Store(old / "home" / "data" / "chats.sqlite3") as store:
        titles = {row.title: row.id for row in store.chats()}
        chat = store.chat(titles["Pens"])
        assert chat.settings.router == "entropy:0.01"
        for message in exported["messages"]:
            if message["trace"] is not None:
                trace = store.trace(message["id"])
                assert trace is not None
                assert trace.text == message["text"]
                assert trace.tokens == {role: message["trace"]["tokens"][role.value] for role in Role}
