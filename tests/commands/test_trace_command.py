"""`rstitch trace` on a run of the demo pair: what a terminal, a pipe and a browser get, and what is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from html import unescape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from rstitch_local.commands.main import app
from rstitch_local.decoding.roles import Role
from rstitch_local.errors import InputError, ModelError, RStitchError, StorageError, UsageError
from rstitch_local.problems.traces import RunTraces

if TYPE_CHECKING:
    from tiny_pair import TinyPair

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "word_problems.jsonl"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trace")
        patch.setenv("RSTITCH_HOME", str(folder / "home"))
        patch.delenv("NO_COLOR", raising=False)
        yield folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """Three problems solved by the demo pair."""
    command = ["solve", str(EXAMPLES), "--out", str(home / "run"), "--pair", "demo", "--limit", "3"]
    done = CliRunner().invoke(app, [*command, "--router", "entropy:0.001"])
    assert done.exit_code == 0, done.output
    return home / "run"


def trace(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def refused(kind: type[RStitchError], *arguments: object) -> str:
    result = trace(*arguments)
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def first_id(run: Path) -> str:
    return RunTraces(run).keys[0][0]


def test_text_of_the_llm_is_in_brackets_in_a_pipe(run: Path) -> None:
    for stored in RunTraces(run):
        result = trace(run / "answers.jsonl", stored.id)
        assert result.exit_code == 0, result.output
        output = result.stdout
        assert "\x1b" not in output
        lines = output.splitlines()
        assert lines[0] == stored.id
        assert re.match("correct: |wrong: ", lines[1])
        assert lines[2] == stored.question
        answer = output.split("\n\n")[1]
        assert answer.replace("⟦", "").replace("⟧", "") == stored.trace.text.rstrip("\n")
        by_llm = "".join(step.text for step in stored.trace.steps if step.role is Role.LLM)
        assert "".join(re.findall("⟦(.*?)⟧", output, re.S)) == by_llm
        assert output.count("▲ token ") == min(12, stored.trace.swaps_up) > 0
        assert f"SLM {stored.trace.tokens[Role.SLM]} + LLM {stored.trace.tokens[Role.LLM]} tokens" in output
        assert "router entropy:0.001" in lines[-1]


def shown(monkeypatch: pytest.MonkeyPatch, run: Path, *, no_color: bool) -> str:
    """Return the output on a terminal."""
    from rstitch_local.commands import trace as command
    from rstitch_local.commands.console import make_console

    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    out = StringIO()

    def console(**options: bool) -> Console:
        made = make_console(**options)
        return Console(file=out, force_terminal=True, width=60, color_system=made.color_system and "standard")  # type: ignore[arg-type]

    monkeypatch.setattr(command, "make_console", console)
    # rich checks the real stdout, which is not a terminal, for color support.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert trace(run, first_id(run)).exit_code == 0
    return out.getvalue()


def test_colors_on_a_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = shown(monkeypatch, run, no_color=False)
    assert "⟦" not in output
    assert "\x1b[4;36m" in output
    stored = RunTraces(run)[first_id(run), 0]
    assert stored.trace.text.split("\n")[0] in re.sub(r"\x1b\[[\d;]*m", "", output)


def test_no_color_shows_brackets_and_no_escape_codes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = shown(monkeypatch, run, no_color=True)
    assert "⟦" in output
    assert "\x1b" not in output


def test_the_page_of_a_run(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = trace(run, first_id(run), "--html", page)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Written to {page}\n"
    html = page.read_text(encoding="utf-8")
    stored = RunTraces(run)[first_id(run), 0]
    assert unescape(stored.question) in unescape(html)
    assert html.count('class="t ') - 13 == len(stored.trace.steps)
    assert "data-predictions" not in html
    assert "nats)" in html


def test_alternatives_are_the_predictions_of_both_models(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = trace(run, first_id(run), "--html", page, "--alternatives")
    assert result.exit_code == 0, result.output
    steps = RunTraces(run)[first_id(run), 0].trace.steps
    views = [json.loads(unescape(view)) for view in re.findall(r'data-predictions="([^"]*)"', page.read_text("utf-8"))]
    assert len(views) == len(steps)
    for step, (slm, llm) in zip(steps, views, strict=True):
        assert (slm[0], llm[0]) == ("SLM", "LLM")
        _, _, candidates = slm if step.role is Role.SLM else llm
        assert len(candidates) == 5
        # Greedy: the token is the most likely one of its writer, with the recorded probability.
        assert candidates[0][1] == pytest.approx(step.top1, abs=2e-3)
        assert [taken for _, _, taken in candidates] == [1, 0, 0, 0, 0]


def test_other_models_are_refused(run: Path, tmp_path: Path, tiny_pair: TinyPair) -> None:
    page = tmp_path / "page.html"
    output = refused(ModelError, run, first_id(run), "--html", page, "--alternatives", *tiny_pair.options)
    assert "slm.gguf is not the file that generated this answer" in output
    assert not page.exists()


def test_a_pair_of_two_files_must_be_given(tmp_path: Path, tiny_pair: TinyPair) -> None:
    problems = tmp_path / "p.jsonl"
    problems.write_text('{"id": "x", "question": "Hello?"}\n')
    folder = tmp_path / "run"
    command = [
        "solve",
        str(problems),
        "--out",
        str(folder),
        *tiny_pair.options,
        "--context",
        "256",
        "--max-tokens",
        "9",
    ]
    assert CliRunner().invoke(app, command).exit_code == 0
    page = tmp_path / "page.html"
    assert "slm.gguf + llm.gguf" in refused(UsageError, folder, "--html", page, "--alternatives")
    result = trace(folder, "--html", page, "--alternatives", *tiny_pair.options)
    assert result.exit_code == 0, result.output
    assert page.read_text("utf-8").count("data-predictions") == 9


def test_output_of_ask_json_can_be_shown(tmp_path: Path) -> None:
    question = "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?"
    file = tmp_path / "asked.json"
    file.write_text(CliRunner().invoke(app, ["ask", question, "--json", "--pair", "demo"]).stdout, encoding="utf-8")
    assert "\\boxed" in trace(file).stdout
    output = refused(InputError, file, "--html", tmp_path / "x.html", "--alternatives")
    assert "in run folders only" in output


def test_invalid_arguments(run: Path, tmp_path: Path) -> None:
    some = first_id(run)
    assert "must end in .html" in refused(UsageError, run, some, "--html", run / "answers.jsonl")
    assert "Add --html" in refused(UsageError, run, some, "--alternatives")
    assert "Cannot write page" in refused(StorageError, run, some, "--html", run / "run.json" / "x.html")
    assert f"Similar ids: {some}" in refused(InputError, run, some[:-1])
    assert "no sample 1" in refused(InputError, run, some, "--sample", "1")
    assert "does not exist" in refused(InputError, tmp_path / "nothing.json")
    assert trace(run, some, "--sample", "-1").exit_code == 2


def test_a_run_without_recorded_tokens(run: Path, tmp_path: Path) -> None:
    for name in ("run.json", "answers.jsonl"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert "not its tokens: an older version of rstitch wrote it" in refused(InputError, tmp_path, first_id(run))


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system")
def test_a_pipe_or_a_device_is_no_trace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "Is a pipe or a device" in refused(InputError, path)


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000])
def test_a_name_that_is_too_long(name: str) -> None:
    message = refused(InputError, name)
    assert "cannot be read" in message
    assert len(message) < 700
