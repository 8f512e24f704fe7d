"""The demo pair through the command line: what a fresh machine can do at once."""

from __future__ import annotations

import json
from pathlib import Path

import demo
import pytest
from typer.testing import CliRunner

from rstitch_local.commands.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


def test_it_answers_with_nothing_downloaded() -> None:
    question = "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?"
    done = CliRunner().invoke(app, ["ask", question, "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["settings"]["pair"] == "demo"
    assert record["text"].endswith("\\boxed{42}")


def test_it_solves_the_examples(tmp_path: Path) -> None:
    file = ROOT / "examples" / "word_problems.jsonl"
    done = CliRunner().invoke(app, ["solve", str(file), "--out", str(tmp_path / "run"), "--pair", "demo", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["problems"] == 24
    assert figures["accuracy"] > 0.8
    assert 0.05 < figures["llm_share"] < 0.4


def test_the_demo_compares_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["demo.py", "--out", str(tmp_path / "demo")])
    demo.main()
    said = capsys.readouterr().out
    for router in ("slm", "llm", "entropy:0.005"):
        assert router in said
        assert (tmp_path / "demo" / router.replace(":", "-") / "answers.jsonl").is_file()
    assert "times as fast as the large model" in " ".join(said.split())
