"""The demo pair on the command line, without a download."""

from __future__ import annotations

import json
import time
from pathlib import Path

import demo
import pytest
from typer.testing import CliRunner

from rstitch_local.commands.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


def test_ask_answers() -> None:
    question = "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?"
    done = CliRunner().invoke(app, ["ask", question, "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["settings"]["pair"] == "demo"
    assert record["text"].endswith("\\boxed{42}")


def test_solve_solves_the_examples(tmp_path: Path) -> None:
    file = ROOT / "examples" / "word_problems.jsonl"
    done = CliRunner().invoke(app, ["solve", str(file), "--out", str(tmp_path / "run"), "--pair", "demo", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["problems"] == 24
    assert summary["accuracy"] > 0.8
    assert 0.05 < summary["llm_share"] < 0.4


@pytest.mark.parametrize("router", ["entropy:0.005", "slm"])
def test_concurrent_answers_equal_single_ones(tmp_path: Path, router: str) -> None:
    """Stopped and resumed in between; rounding may change an answer or two."""
    file = ROOT / "examples" / "word_problems.jsonl"
    texts: dict[str, dict[str, str]] = {}
    for sequences in ("1", "5"):
        out = tmp_path / sequences
        started = time.perf_counter()
        for limit in ("9", "24"):
            arguments = ["solve", str(file), "--out", str(out), "--pair", "demo", "--router", router, "--threads", "1"]
            done = CliRunner().invoke(app, [*arguments, "--parallel", sequences, "--limit", limit, "--json"])
            assert done.exit_code == 0, done.output
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(lines) == json.loads(done.stdout)["problems"] == 24
        texts[sequences] = {line["id"]: line["text"] for line in lines}
        # The shares of the time add up to at most the time of the whole run.
        assert sum(line["busy_ms"] for line in lines) <= (time.perf_counter() - started) * 1e3
        assert all(line["busy_ms"] >= sum(sum(kinds.values()) for kinds in line["ms"].values()) for line in lines)
        loaded = json.loads((out / "run.json").read_text(encoding="utf-8"))["information"]["loaded"]
        assert loaded["slm"]["sequences"] == int(sequences)
    assert sum(texts["1"][key] != texts["5"][key] for key in texts["1"]) <= 2


def test_the_demo_script_compares_three_routers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["demo.py", "--out", str(tmp_path / "demo")])
    demo.main()
    output = capsys.readouterr().out
    for router in ("slm", "llm", "entropy:0.005"):
        assert router in output
        assert (tmp_path / "demo" / router.replace(":", "-") / "answers.jsonl").is_file()
    assert "times as fast as the large model" in " ".join(output.split())
