"""`rstitch trace` on a run of the demo pair: what a terminal, a pipe and a browser get, and what is refused."""

from __future__ import annotations

import json
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
from rstitch_local.commands.trace_text import entropy_lines, height, print_answer
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import InputError, ModelError, RStitchError, StorageError, UsageError
from rstitch_local.problems.traces import RunTraces
from rstitch_local.study.trace_source import LoadedAnswer
from rstitch_local.trace.record import Trace

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


def test_a_pipe_gets_brackets_around_what_the_llm_wrote(run: Path) -> None:
    for kept in RunTraces(run):
        result = trace(run / "answers.jsonl", kept.id)
        assert result.exit_code == 0, result.output
        said = result.stdout
        assert "\x1b" not in said
        lines = said.splitlines()
        assert lines[0] == kept.id
        assert re.match("right: |wrong: ", lines[1])
        assert lines[2] == kept.question
        answer = said.split("\n\n")[1]
        assert answer.replace("⟦", "").replace("⟧", "") == kept.trace.text.rstrip("\n")
        by_llm = "".join(step.text for step in kept.trace.steps if step.role is Role.LLM)
        assert "".join(re.findall("⟦(.*?)⟧", said, re.S)) == by_llm
        assert said.count("▲ token ") == min(12, kept.trace.swaps_up) > 0
        assert f"SLM {kept.trace.tokens[Role.SLM]} + LLM {kept.trace.tokens[Role.LLM]} tokens" in said
        assert "router entropy:0.001" in lines[-1]


def shown(monkeypatch: pytest.MonkeyPatch, run: Path, *, no_color: bool) -> str:
    """What a terminal would get."""
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
    # rich asks the real stdout, which is none here, whether it has colours.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert trace(run, first_id(run)).exit_code == 0
    return out.getvalue()


def test_a_terminal_gets_colours(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, run, no_color=False)
    assert "⟦" not in said
    assert "\x1b[4;36m" in said
    kept = RunTraces(run)[first_id(run), 0]
    assert kept.trace.text.split("\n")[0] in re.sub(r"\x1b\[[\d;]*m", "", said)


def test_no_color_gets_brackets_and_no_escapes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, run, no_color=True)
    assert "⟦" in said
    assert "\x1b" not in said


def test_strangers_texts_command_no_terminal() -> None:
    nasty = "\x1b[2J\x9b\u202e[bold]x[/bold]"
    steps = [Step(0, Role.LLM, 1, nasty, 0.5, 0.5, 1, 1.0, 0.6), Step(1, Role.SLM, 1, nasty, 0.5, 0.5, 1, 1.0)]
    made = Trace(1, {"pair": nasty, "router": nasty}, steps, stop=nasty)
    answer = {"stop": "eog", "correct": False, "answer": nasty, "gold": nasty}
    for terminal in (False, True):
        out = StringIO()
        screen = Console(file=out, force_terminal=terminal, color_system=None, markup=False)
        print_answer(LoadedAnswer("x", made, nasty, answer, nasty), screen)
        assert not re.search("[\x1b\x9b\u202e]", out.getvalue())
        assert out.getvalue().count("[bold]x[/bold]") >= 6


def steps_of(count: int) -> Trace:
    steps = [
        Step(
            place, Role.LLM if place % 7 == 3 else Role.SLM, 1, "x", 0.001, 0.9, 1, 1.0, 0.3 if place % 7 == 3 else None
        )
        for place in range(count)
    ]
    return Trace(1, {"router": "entropy:0.02"}, steps)


@pytest.mark.parametrize(("count", "width"), [(1, 20), (95, 40), (100, 103), (1000, 80), (12345, 60)])
def test_the_bars_fit_the_width_and_none_is_missing(count: int, width: int) -> None:
    rows = [row.plain for row in entropy_lines(steps_of(count), width)][1:]
    assert max(map(len, rows)) <= width
    bars = [row for row in rows if re.match(r" *\d", row)]
    gutter = len(str(count - 1)) + 1
    assert sum(len(row) - gutter for row in bars) == count
    places = [int(row.split()[0]) for row in bars]
    assert places == list(range(0, count, width - gutter))
    # Each mark stands under its bar.
    everything = "".join(row[gutter:] for row in bars)
    ups = [place for place in range(count) if place % 7 == 3]
    assert [place for place, bar in enumerate(everything) if bar > "▄"] == ups
    for number, row in enumerate(bars):
        marks = [*rows, ""][rows.index(row) + 1]
        if "▲" in marks:
            found = [places[number] + at for at, mark in enumerate(marks[gutter:]) if mark == "▲"]
            assert found == [place for place in ups if places[number] <= place < places[number] + width - gutter]


def test_half_the_height_is_tau() -> None:
    for tau in (0.0001, 0.0005, 0.001, 0.02, 0.5, 0.999, 1.0, 2.0, float("inf"), -1.0):
        heights = [height(entropy, tau) for entropy in (0.0, 1e-9, 0.0004, 0.003, 0.02, 0.0201, 0.4, 0.6, 1.0)]
        assert heights == sorted(heights)
        assert set(heights) <= set(range(8))
        for entropy in (0.0, 0.0006, 0.02, 0.0201, 1.0):
            assert (height(entropy, tau) >= 4) == (entropy > tau)
    assert [height(entropy, None) for entropy in (0.0, 1.0)] == [0, 7]


def test_the_page_of_a_run(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = trace(run, first_id(run), "--html", page)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Written to {page}\n"
    html = page.read_text(encoding="utf-8")
    kept = RunTraces(run)[first_id(run), 0]
    assert unescape(kept.question) in unescape(html)
    assert html.count('class="t ') - 13 == len(kept.trace.steps)
    assert "data-view" not in html
    assert "nats)" in html


def test_alternatives_are_what_the_models_saw(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = trace(run, first_id(run), "--html", page, "--alternatives")
    assert result.exit_code == 0, result.output
    steps = RunTraces(run)[first_id(run), 0].trace.steps
    views = [json.loads(unescape(view)) for view in re.findall(r'data-view="([^"]*)"', page.read_text("utf-8"))]
    assert len(views) == len(steps)
    for step, (slm, llm) in zip(steps, views, strict=True):
        assert (slm[0], llm[0]) == ("SLM", "LLM")
        _, _, candidates = slm if step.role is Role.SLM else llm
        assert len(candidates) == 5
        # Greedy: the likeliest of the writer stands there, as likely as it was then.
        assert candidates[0][1] == pytest.approx(step.top1, abs=2e-3)
        assert [taken for _, _, taken in candidates] == [1, 0, 0, 0, 0]


def test_other_models_are_not_asked(run: Path, tmp_path: Path, tiny_pair: TinyPair) -> None:
    page = tmp_path / "page.html"
    said = refused(ModelError, run, first_id(run), "--html", page, "--alternatives", *tiny_pair.options)
    assert "slm.gguf is not the file that wrote this answer" in said
    assert not page.exists()


def test_a_pair_that_is_two_files_must_be_named(tmp_path: Path, tiny_pair: TinyPair) -> None:
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
    assert page.read_text("utf-8").count("data-view") == 9


def test_what_ask_printed_can_be_looked_at(tmp_path: Path) -> None:
    question = "Tom has 12 pens. He buys 30 more pens. How many pens does Tom have?"
    file = tmp_path / "asked.json"
    file.write_text(CliRunner().invoke(app, ["ask", question, "--json", "--pair", "demo"]).stdout, encoding="utf-8")
    assert "\\boxed" in trace(file).stdout
    said = refused(InputError, file, "--html", tmp_path / "x.html", "--alternatives")
    assert "in the folder of a run" in said


def test_mistakes(run: Path, tmp_path: Path) -> None:
    some = first_id(run)
    assert "must end in .html" in refused(UsageError, run, some, "--html", run / "answers.jsonl")
    assert "give --html" in refused(UsageError, run, some, "--alternatives").lower()
    assert "Cannot write" in refused(StorageError, run, some, "--html", tmp_path / "none" / "x.html")
    assert f"Close to it: {some}" in refused(InputError, run, some[:-1])
    assert "no sample 1" in refused(InputError, run, some, "--sample", "1")
    assert "is not there" in refused(InputError, tmp_path / "nothing.json")
    assert trace(run, some, "--sample", "-1").exit_code == 2


def test_a_run_of_an_older_version(run: Path, tmp_path: Path) -> None:
    for name in ("run.json", "answers.jsonl"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert "not its tokens: it was written by an older rstitch" in refused(InputError, tmp_path, first_id(run))
