"""Learned routers on the command line: they are bound to an SLM, and runs to the file of the router."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rstitch_local.builtin import SLM_FILE
from rstitch_local.builtin.word_problems import generate
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.commands import loading
from rstitch_local.commands.main import app
from rstitch_local.errors import InputError, ModelError
from rstitch_local.routing.policy import Policy, PolicyMetadata
from rstitch_local.routing.policy_file import write_policy


def write_router(path: Path, sha256: str, bias: float) -> None:
    """Write a policy whose decision is constant."""
    facts = PolicyMetadata(sha256, 96, 0.001, ("entropy",))
    shapes = {"inner_weight": (4, 1), "inner_bias": (4,), "outer_weight": (2, 4)}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    tensors |= {"norm_scale": np.ones(96, np.float32), "norm_shift": np.zeros(96, np.float32)}
    write_policy(path, Policy(facts, {**tensors, "outer_bias": np.array([0, bias], np.float32)}))


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    rows = [generate(11, index, steps=2) for index in range(2)]
    lines = [json.dumps({"id": str(i), "question": p.question, "answer": str(p.answer)}) for i, p in enumerate(rows)]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    return tmp_path / "p.jsonl"


@pytest.mark.parametrize("command", ["solve", "bench"])
def test_the_router_of_another_slm_is_refused_before_loading(
    command: str, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = problems.with_name("other.safetensors")
    write_router(router, "b" * 64, 1)
    monkeypatch.setattr(loading, "open_pair", lambda *_, **__: pytest.fail("loaded"))
    out = problems.with_name("run")
    arguments = [command, str(problems), "--pair", "demo", "--out", str(out), "--router", f"learned:{router}"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, ModelError), done.output
    assert "another SLM" in done.exception.message
    assert not list(out.rglob("answers.jsonl"))


def test_a_bench_cannot_be_resumed_with_a_retrained_router(problems: Path) -> None:
    router = problems.with_name("own.safetensors")
    write_router(router, sha256_of(SLM_FILE), 1)
    arguments = ["bench", str(problems), "--pair", "demo", "--out", str(problems.with_name("bench"))]
    arguments += ["--router", f"learned:{router}", "--threads", "1", "--max-tokens", "60"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, arguments).exit_code == 0
    write_router(router, sha256_of(SLM_FILE), -1)
    assert isinstance(CliRunner().invoke(app, arguments).exception, InputError)
