from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rstitch_local import paths
from rstitch_local.builtin.word_problems import generate
from rstitch_local.commands import loading
from rstitch_local.commands.main import app
from rstitch_local.errors import InputError, UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dozen word problems."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    problems = [generate(3, index) for index in range(12)]
    rows = [{"id": f"w{n}", "question": p.question, "answer": str(p.answer)} for n, p in enumerate(problems)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "p.jsonl"


def tune(file: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["tune", str(file), "--out", str(file.parent / "out"), "--pair", "demo", *more])


def not_loaded(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("the pair was loaded")


def test_a_choice_is_saved_and_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The SLM alone is the fastest, and any loss of accuracy is allowed.
    routers = ["--router", "slm", "--router", "entropy:0.001", "--max-loss", "100", "--save"]
    done = tune(file, *routers)
    assert done.exit_code == 0, done.output
    assert "Chosen router: slm (accuracy at most 100 points below the LLM alone)" in " ".join(done.stdout.split())
    assert "slm is now the router of the pair demo" in done.stderr
    record = json.loads((file.parent / "out" / "tune.json").read_text())
    assert record["chosen"] == "slm"
    ids = {
        part: {json.loads(line)["id"] for line in (file.parent / "out" / part / "slm" / "answers.jsonl").open()}
        for part in ("choosing", "reporting")
    }
    assert ids["choosing"].isdisjoint(ids["reporting"])
    assert len(ids["choosing"] | ids["reporting"]) == 12
    asked = CliRunner().invoke(app, ["ask", "Tom has 3 pens.", "--pair", "demo", "--max-tokens", "3", "--json"])
    assert json.loads(asked.stdout)["settings"]["router"] == "slm"
    # The second run loads no models; models.toml takes precedence, which is reported.
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    paths.user_catalog().write_text("[demo]\ntau = 0.3\n")
    again = tune(file, *routers, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == record
    assert "takes precedence" in again.stderr


def test_no_router_satisfies_the_constraint(file: Path) -> None:
    done = tune(file, "--router", "entropy:0.1", "--target-ms", "0.001", "--save", "--max-tokens", "8")
    assert done.exit_code == 0, done.output
    assert "No router satisfies the constraint (at most 0.001 ms per problem)" in " ".join(done.stdout.split())
    assert "Nearest to the constraint" in done.stdout
    assert "nothing is saved" in done.stderr
    assert not paths.tuned_file().exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--router", "nonsense"], "nonsense"),
        (["--max-loss", "1", "--target-ms", "5"], "exclude each other"),
        (["--slm", "a.gguf", "--llm", "b.gguf", "--save"], "not two files"),
    ],
)
def test_mistakes_are_reported_before_loading(
    file: Path, more: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    done = tune(file, *more)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not (file.parent / "out").exists()


def test_too_few_problems(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    assert isinstance(tune(file, "--limit", "1", "--router", "slm").exception, InputError)
