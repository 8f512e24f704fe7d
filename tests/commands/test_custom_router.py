"""`--router python:MODULE:FACTORY` in the commands that take a router."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rstitch_local.builtin.word_problems import generate
from rstitch_local.commands import loading
from rstitch_local.commands.main import app
from rstitch_local.errors import UsageError
from rstitch_local.routing.registry import register_router, unregister_router

MODULE = """
from rstitch_local.decoding.roles import Role

def every(observation):
    return observation.role is Role.SLM and observation.position % 3 == 2

class Every:
    def __init__(self, n):
        self.n = int(n)
    def __call__(self, observation):
        return observation.role is Role.SLM and observation.position % self.n == 0

def fails():
    raise ValueError("not today")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A problem file in a working directory that has a module of routers."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "my_routers", raising=False)
    (tmp_path / "my_routers.py").write_text(MODULE, encoding="utf-8")
    problems = [generate(3, index) for index in range(4)]
    rows = [{"id": f"w{n}", "question": p.question, "answer": str(p.answer)} for n, p in enumerate(problems)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "p.jsonl"


def rstitch(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--pair", "demo", "--max-tokens", "12", "--threads", "1"])


def test_ask_uses_a_function(file: Path) -> None:  # noqa: ARG001
    done = rstitch("ask", "Tom has 3 pens.", "--router", "python:my_routers:every", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [step["role"] == "llm" for step in record["steps"]] == [n % 3 == 2 for n in range(len(record["steps"]))]
    assert record["settings"]["router"] == "python:my_routers:every"


@pytest.mark.parametrize("command", ["solve", "bench", "tune"])
def test_problems_are_solved_and_the_run_resumed(command: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = file.with_name("out")
    arguments = [command, str(file), "--out", str(out), "--router", "python:my_routers:Every:4"]
    done = rstitch(*arguments)
    assert done.exit_code == 0, done.output
    (run,) = [path for path in out.rglob("run.json") if "Every" in path.read_text()][:1]
    assert json.loads(run.read_text())["settings"]["router"] == "python:my_routers:Every:4"
    rows = [json.loads(line) for line in run.with_name("answers.jsonl").read_text().splitlines()]
    assert all(row["tokens"]["llm"] == 3 for row in rows if sum(row["tokens"].values()) == 12)
    monkeypatch.setattr(loading, "open_pair", lambda *_: pytest.fail("loaded"))
    assert rstitch(*arguments).exit_code == 0


def test_registered_routers_have_a_name(file: Path) -> None:  # noqa: ARG001
    register_router("thirds", lambda: lambda observation: observation.position % 3 == 2)
    try:
        done = rstitch("ask", "Tom has 3 pens.", "--router", "thirds", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["settings"]["router"] == "thirds"
    finally:
        unregister_router("thirds")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("python:my_routers", "python:"),
        ("python:no_such_module:f", "no_such_module"),
        ("python:my_routers:nothing", "no attribute nothing"),
        ("python:my_routers:Every:x", "invalid literal"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "solve", "bench"])
def test_mistakes_are_reported_before_loading(
    command: str, spec: str, message: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "open_pair", lambda *_: pytest.fail("loaded"))
    arguments = ["Hi"] if command == "ask" else [str(file), "--out", str(file.with_name("out"))]
    done = rstitch(command, *arguments, "--router", spec)
    assert isinstance(done.exception, UsageError), done.exception
    assert message in str(done.exception)
