from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstitch_local.builtin.word_problems import generate
from rstitch_local.commands.jobs import read_selected
from rstitch_local.commands.main import app
from rstitch_local.commands.options import ProblemOptions
from rstitch_local.commands.train_router import parse_latency_penalty, require_torch, split_problems
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.store import store_calibration
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.errors import UsageError
from rstitch_local.problems.reading import Problem
from rstitch_local.routing.policy_file import read_policy


def test_lambda_is_auto_or_a_number() -> None:
    assert parse_latency_penalty("auto") is None
    assert parse_latency_penalty("5e-6") == 5e-6
    for text in ("-1", "nan", "inf", "much"):
        with pytest.raises(UsageError, match=text):
            parse_latency_penalty(text)


def test_training_and_validation_set_are_disjoint() -> None:
    problems = [Problem(str(i), "?", None if i % 10 == 0 else "1", i + 1) for i in range(4000)]
    train, validation = split_problems(problems)
    assert len(train) + len(validation) == 3600
    assert len(validation) == 300
    assert not {p.id for p in train} & {p.id for p in validation}
    # The set of a problem depends on its id only.
    assert {p.id for p in split_problems(problems[:800])[1]} <= {p.id for p in validation}


def test_missing_torch_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="Training requires torch"):
        require_torch()
    done = CliRunner().invoke(app, ["train-router", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "r")])
    assert isinstance(done.exception, UsageError)
    assert "rstitch-local[train]" in done.exception.hint


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    costs = [Formula(prefill=(0, 0, c, c), decode=(0, 2 * c)) for c in (0.05, 0.3)]
    slm, llm = (ModelLatency(n_batch=64, formula=formula) for formula in costs)
    with load_pair("demo", options=LoadOptions(threads=1)) as pair:
        store_calibration(pair, PairLatency(slm=slm, llm=llm))
    return tmp_path


def test_a_trained_router_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    from rstitch_local.learning import training

    monkeypatch.setattr(training, "_WARM_PROBLEMS", 8)
    monkeypatch.setattr(training, "_PRICED_PROBLEMS", 2)
    rows = [generate(11, index, steps=2) for index in range(30)]
    file, out = home / "p.jsonl", home / "router.safetensors"
    file.write_text(
        "".join(json.dumps({"id": str(i), "question": p.question, "answer": str(p.answer)}) + "\n"
                for i, p in enumerate(rows))
    )  # fmt: skip
    command = ["train-router", str(file), "--pair", "demo", "--out", str(out), "--batch", "2", "--group", "2"]
    command += ["--threads", "1", "--parallel", "8", "--max-tokens", "100", "--steps"]
    done = CliRunner().invoke(app, [*command, "1"])
    assert done.exit_code == 0, done.output
    assert "lambda is" in done.stderr
    assert "step 1/1: reward" in done.stderr
    assert f"learned:{out}" in done.stderr.replace("\n", "")
    assert CliRunner().invoke(app, [*command, "2", "--resume"]).exit_code == 0
    assert read_policy(out).metadata.training["steps"] in (1, 2)
    answer = CliRunner().invoke(app, ["ask", rows[0].question, "--pair", "demo", "--router", f"learned:{out}"])
    assert answer.exit_code == 0
    assert "boxed" in answer.output
    # A run cannot be resumed with another router of the same name.
    solve = ["solve", str(file), "--pair", "demo", "--router", f"learned:{out}", "--out", str(home / "run")]
    solve += ["--limit", "2", "--threads", "1"]
    assert CliRunner().invoke(app, solve).exit_code == 0
    out.write_bytes(out.read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2'))
    assert CliRunner().invoke(app, solve).exit_code != 0


def test_skipped_rows_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text('{"question": "1 + 1?", "answer": "2"}\n{"answer": "3"}\n', encoding="utf-8")
    problem_file, selected = read_selected(file, ProblemOptions())
    assert [problem.question for problem in selected] == ["1 + 1?"]
    assert problem_file.problems == selected
    assert "problems.jsonl, line 2 is skipped" in capsys.readouterr().err
