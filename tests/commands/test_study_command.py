from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_pair import write_pair
from typer.testing import CliRunner, Result

from rstitch_local.builtin import word_problems
from rstitch_local.commands.main import app
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError, ModelError, RStitchError, UsageError
from rstitch_local.problems.grading import Grader
from rstitch_local.study import agreement as study_of_agreement
from rstitch_local.study import entropy_study, study_plots

if TYPE_CHECKING:
    from tiny_pair import TinyPair

# The SLM answers the first three correctly; the LLM answers all but number 7 correctly.
INDEXES = (0, 1, 2, 7, 9, 13)
EXTRA_MISSING = None in map(find_spec, ("matplotlib", "scipy"))
needs_study_extra = pytest.mark.skipif(EXTRA_MISSING, reason="needs matplotlib and scipy: install '.[study]'")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as one:
        yield one


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grader: Grader, request: pytest.FixtureRequest) -> None:
    """Use one grading process for all tests; save the plots only in tests that use `saves_figures`."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    for module in (entropy_study, study_of_agreement):
        monkeypatch.setattr(module, "Grader", lambda: nullcontext(grader))
    if "saves_figures" in request.fixturenames or find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda _, path, **_options: path.write_bytes(bytes(1001)))


@pytest.fixture
def saves_figures() -> None:
    """See `quick`."""


def write(tmp_path: Path, indexes: tuple[int, ...] = INDEXES, *, gold: bool = True) -> Path:
    rows = []
    for index in indexes:
        problem = word_problems.generate(word_problems.EVALUATION_SEED, index)
        rows.append({"id": f"w|{index}", "question": problem.question, **({"answer": problem.answer} if gold else {})})
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def study(name: str, file: Path, out: Path, *more: str) -> Result:
    arguments = ["study", name, str(file), "--out", str(out), "--pair", "demo", "--threads", "1", *more]
    return CliRunner().invoke(app, arguments)


def done(name: str, file: Path, out: Path, *more: str) -> str:
    result = study(name, file, out, *more)
    assert result.exit_code == 0, (result.output, result.exception)
    report = (out / "report.md").read_text(encoding="utf-8")
    # All files that the report links to exist.
    for named in re.findall(r"\]\(([^)]+)\)", report):
        assert (out / named).stat().st_size > 1000, named
    return report


def refused(result: Result, kind: type[RStitchError]) -> str:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


@needs_study_extra
@pytest.mark.usefixtures("saves_figures")
def test_entropy_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = write(tmp_path), tmp_path / "out"
    report = done("entropy", file, out)
    assert "answers 3 of 6 (50.0%, 95 % interval 18.8% to 81.2%) correctly" in report
    assert (
        "Of 3 wrong answers, 2 have one. Wrong with the LLM alone too, so no SLM token caused the mistake: 1." in report
    )
    assert report.count("](entropy_") == 8
    # The ninth contains 400+295=795: the 7 is harmful.
    assert "| w\\|9 |" in report
    assert "400+295= | 7 | 95⏎\\\\boxed\\{795\\}" in report
    figures = json.loads((out / "entropy.json").read_text(encoding="utf-8"))
    assert figures["outcomes"] == {"found": 2, "llm_wrong": 1, "llm_cut_off": 0, "recovered": 0, "failed": 0}
    with (out / "tokens.csv").open(encoding="utf-8", newline="") as lines:
        tokens = list(csv.DictReader(lines))
    assert len(tokens) == figures["tokens"]
    for token in tokens:
        assert float(token["nats"]) == pytest.approx(float(token["entropy"]) * figures["log_vocabulary"])
    with (out / "harmful.csv").open(encoding="utf-8", newline="") as lines:
        assert [(row["id"], row["token"], row["llm_agrees"]) for row in csv.DictReader(lines)] == [
            ("w|9", "7", "False"),
            ("w|13", "4", "False"),
        ]
    header = json.loads((out / "slm" / "run.json").read_text(encoding="utf-8"))
    assert header["settings"]["study"] == {"read_along": True}

    def start(*_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("an answer was generated again")

    monkeypatch.setattr(Pair, "chat", start)
    monkeypatch.setattr(study_plots, "save", lambda *_arguments, **_options: [])
    assert done("entropy", file, out) == report


@needs_study_extra
@pytest.mark.usefixtures("saves_figures")
def test_agreement_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = write(tmp_path), tmp_path / "out"
    report = done("agreement", file, out)
    assert "**Computed, not measured**" in report
    assert report.count("](agreement_speed_up") == report.count("](answer_lengths") == 2
    with (out / "problems.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["slm_correct"] for row in rows] == ["True"] * 3 + ["False"] * 3
    assert all(0.5 < float(row["agreement"]) <= 1 for row in rows)
    assert all(float(row["computed_speed_up_draft_4"]) > 0 for row in rows)
    slm = [json.loads(line) for line in (out / "slm" / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    # The LLM does not score the SLM's answers.
    assert all(line["agrees"] == [] and line["evaluated"]["llm"]["decode"] == 0 for line in slm)

    def start(*_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("an answer was generated again")

    monkeypatch.setattr(Pair, "chat", start)
    monkeypatch.setattr(study_plots, "save", lambda *_arguments, **_options: [])
    assert done("agreement", file, out) == report


@needs_study_extra
@pytest.mark.parametrize("calls", [2, 5])
def test_ctrl_c_prints_how_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    file = write(tmp_path, (0, 9))
    whole = done("entropy", file, tmp_path / "whole")
    graded = 0
    grade = Grader.grade

    def interrupted(self: Grader, gold: str | None, text: str) -> Any:
        nonlocal graded
        graded += 1
        if graded == calls:
            raise KeyboardInterrupt
        return grade(self, gold, text)

    monkeypatch.setattr(Grader, "grade", interrupted)
    out = tmp_path / "parts"
    result = study("entropy", file, out)
    assert result.exit_code == 130
    assert "to resume" in result.stderr
    assert not (out / "report.md").exists()
    assert done("entropy", file, out) == whole
    # Nothing that was graded before the interrupt is graded again.
    continuations = (out / "slm" / "continuations.jsonl").read_text(encoding="utf-8").splitlines()
    assert graded == 2 + len(continuations) + 1


@needs_study_extra
def test_more_problems_can_be_added(tmp_path: Path) -> None:
    file, out = write(tmp_path, (0, 9)), tmp_path / "out"
    first = done("entropy", file, out, "--limit", "1")
    assert "answers 1 of 1 (100.0%, 95 % interval 20.7% to 100.0%) correctly" in first
    assert "there is nothing to compare" in first
    assert "No answer is wrong, so there is none." in first
    assert done("entropy", file, out) == done("entropy", file, tmp_path / "whole")


@needs_study_extra
@pytest.mark.parametrize(
    ("indexes", "gold", "expected"),
    [
        ((0, 1), True, "All 2 graded answers are right"),
        (
            (7,),
            True,
            "Of 1 wrong answers, 0 have one. Wrong with the LLM alone too, so no SLM token caused the mistake: 1.",
        ),
        ((9, 13), True, "All 2 graded answers are wrong"),
        ((0, 9), False, "No answer was graded."),
    ],
)
def test_only_right_or_only_wrong_answers(tmp_path: Path, indexes: tuple[int, ...], gold: bool, expected: str) -> None:
    file = write(tmp_path, indexes, gold=gold)
    assert expected in done("entropy", file, tmp_path / "entropy")
    assert "## Answer lengths" in done("agreement", file, tmp_path / "agreement")


@needs_study_extra
@pytest.mark.parametrize("tokens", ["1", "12"])
def test_truncated_answers(tmp_path: Path, tokens: str) -> None:
    file = write(tmp_path)
    report = done("entropy", file, tmp_path / "entropy", "--max-tokens", tokens)
    assert "Cut off by max_tokens or the context, which usually counts as wrong: 6." in report
    assert f"answers at most {tokens} tokens" in report
    # With so few tokens the LLM alone is not right either.
    assert "but it was cut off (try a larger --max-tokens): 6." in report
    assert "which count as incorrect: 6 of 6." in report
    agreement = done("agreement", file, tmp_path / "agreement", "--max-tokens", tokens)
    assert "6 SLM answers, 6 LLM answers" in agreement


@needs_study_extra
def test_two_random_models(tmp_path: Path, tiny_pair: TinyPair) -> None:
    questions = ["one", "word " * 2000, "three"]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps({"question": text, "answer": 7}) + "\n" for text in questions))
    models = [*tiny_pair.options, "--context", "256", "--threads", "1", "--max-tokens", "12"]
    for name in ("entropy", "agreement"):
        arguments = ["study", name, str(file), "--out", str(tmp_path / name), *models]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        assert "1 ended in an error" in result.stderr
        assert "Ended in an error and left out" in (tmp_path / name / "report.md").read_text(encoding="utf-8")


@needs_study_extra
def test_invalid_options(tmp_path: Path) -> None:
    file, out = write(tmp_path, (0,)), tmp_path / "out"
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert "contains no problem" in refused(study("entropy", empty, out), InputError)
    assert "no file" in refused(study("entropy", tmp_path / "none", out), InputError)
    refused(study("entropy", file, out, "--field", "x=y"), UsageError)
    refused(study("agreement", file, out, "--prompt", ""), UsageError)
    assert not out.exists()
    done("entropy", file, out)
    assert "max_tokens: none -> 9" in refused(study("entropy", file, out, "--max-tokens", "9"), InputError)
    # Two studies in one folder would write one report.
    assert "study.read_along" in refused(study("agreement", file, out), InputError)


@pytest.mark.parametrize("library", ["matplotlib", "scipy"])
@pytest.mark.parametrize("name", ["entropy", "agreement"])
def test_a_missing_library_is_reported_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    message = refused(study(name, write(tmp_path), tmp_path / "out"), UsageError)
    assert "pip install 'rstitch-local[study]'" in message
    assert not (tmp_path / "out").exists()


@needs_study_extra
@pytest.mark.parametrize("name", ["entropy", "agreement"])
def test_different_tokenizers_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    files = write_pair(tmp_path, {"swap_tokens": True})
    arguments = ["study", name, str(write(tmp_path)), "--out", str(tmp_path / "out"), "--threads", "1"]
    result = CliRunner().invoke(app, [*arguments, "--slm", str(files.slm), "--llm", str(files.llm)])
    assert "A study compares single tokens" in refused(result, ModelError)
    assert "SLM answers" not in result.output
