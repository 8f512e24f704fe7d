from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from problem_fakes import FakeTrace
from typer.testing import CliRunner

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.commands.main import app
from rstitch_local.errors import InputError, RStitchError, StorageError
from rstitch_local.problems import regrading
from rstitch_local.problems.grading import grader_identity
from rstitch_local.problems.run_folder import RunFolder


def _answer(identifier: str, text: str, correct: bool | None, **changes: Any) -> dict[str, Any]:
    split = {role: {"prompt": 1, "catch_up": 0, "decode": 1} for role in ("slm", "llm")}
    line = {"id": identifier, "sample": 0, "answer": "?", "gold": None if correct is None else "4", "correct": correct}
    made = {"text": text, "stop": "eog", "seed": 1, "tokens": {"slm": 1, "llm": 1}, "swaps": {"up": 0, "down": 0}}
    return {**line, **made, "evaluated": split, "ms": split, "wall_ms": 5.0, "ttft_ms": 1.0, "error": None, **changes}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run graded by an older grader, with two wrong verdicts."""
    with RunFolder(tmp_path) as folder:
        folder.begin({"router": "slm", "grader": {"name": "older", "version": "0.1"}}, {"created": "then"})
        folder.append(_answer("a", "so \\boxed{4.0}", False))
        folder.append(_answer("b", "so \\boxed{5}", True))
        folder.append(_answer("c", "so \\boxed{4}", True))
        folder.append(_answer("d", "so \\boxed{4}", None))
        folder.append(_answer("e", "\\boxed{4}", False, stop="error", error="Broken logits: NaN."))
    return tmp_path


def test_grade_rewrites_verdicts_and_names_the_grader(run: Path) -> None:
    result = CliRunner().invoke(app, ["grade", str(run)])
    assert result.exit_code == 0, result.output
    assert "2 verdicts changed" in result.stdout
    assert "5 problems, 2 of 4 answers correct" in result.stdout
    assert "Previous grader: older 0.1; current grader: math-verify" in result.stdout
    lines = [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]
    assert [line["correct"] for line in lines] == [True, False, True, None, False]
    assert [line["answer"] for line in lines] == ["4.0", "5", "4", "4", "?"]
    assert lines[4]["error"] == "Broken logits: NaN."
    header = json.loads((run / "run.json").read_text())
    assert header["settings"] == {"router": "slm", "grader": grader_identity()}
    assert header["information"] == {"created": "then"}


def test_grade_as_json(run: Path) -> None:
    first = json.loads(CliRunner().invoke(app, ["grade", str(run), "--json"]).stdout)
    assert (first["changed_verdicts"], first["correct"], first["graded"]) == (2, 2, 4)
    again = CliRunner().invoke(app, ["grade", str(run), "--json"])
    assert json.loads(again.stdout) == {**first, "changed_verdicts": 0}


def test_a_truncated_last_line_is_skipped(run: Path) -> None:
    with (run / "answers.jsonl").open("a") as file:
        file.write('{"id": "f", "sam')
    assert json.loads(CliRunner().invoke(app, ["grade", str(run), "--json"]).stdout)["problems"] == 5


def test_ctrl_c_keeps_the_verdicts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_arguments: object) -> int:
        raise KeyboardInterrupt

    before = (run / "answers.jsonl").read_bytes()
    monkeypatch.setattr(regrading, "regrade", stop)
    result = CliRunner().invoke(app, ["grade", str(run)])
    assert result.exit_code == 130
    assert "verdicts are unchanged" in result.stderr
    assert (run / "answers.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda run: (run / "run.json").unlink(), InputError),
        (lambda run: (run / "run.json").write_text("{"), InputError),
        (lambda run: (run / "answers.jsonl").write_text("{\n" + '{"id": "a"}\n'), None),
    ],
)
def test_invalid_run_folders(run: Path, spoil: Any, kind: type[RStitchError] | None) -> None:
    spoil(run)
    result = CliRunner().invoke(app, ["grade", str(run)])
    assert isinstance(result.exception, kind or InputError)


def test_a_folder_in_use(run: Path) -> None:
    with RunFolder(run):
        result = CliRunner().invoke(app, ["grade", str(run)])
    assert isinstance(result.exception, StorageError)


@pytest.fixture
def ungraded(tmp_path: Path) -> Path:
    """A run without gold answers, over p.jsonl, whose gold answers are in an object."""
    rows = [{"id": name, "question": f"Q {name}", "extra": {"final": gold}} for name, gold in (("a", 4), ("b", 6))]
    problems = tmp_path / "p.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"problems_sha256": sha256_of(problems), "fields": {"question": None, "answer": None, "id": None}}
    with RunFolder(tmp_path / "run") as folder:
        folder.begin(settings, {"problems": {"file": "p.jsonl", "path": str(problems)}})
        folder.append(_answer("a", "so \\boxed{4}", None))
        folder.append(_answer("b", "so \\boxed{5}", None))
        folder.append(_answer("c", "", None, stop="error", error="Broken logits: NaN."))
        folder.append_trace(("a", 0), "Q a", FakeTrace(1, stop="eog").to_columns())
    return tmp_path


def _grade(folder: Path, *options: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["grade", str(folder), "--json", *options])
    if result.exception is not None:
        raise result.exception
    metrics: dict[str, Any] = json.loads(result.stdout)
    return metrics


def test_grade_with_a_field_of_the_problem_file(ungraded: Path) -> None:
    metrics = _grade(ungraded / "run", "--field", "answer=extra.final")
    assert (metrics["graded"], metrics["correct"], metrics["changed_verdicts"]) == (2, 1, 2)
    header = json.loads((ungraded / "run" / "run.json").read_text())
    assert header["settings"]["fields"] == {"question": None, "answer": "extra.final", "id": None}
    assert header["settings"]["grader"] == grader_identity()
    # The gold answers stay, and grading again needs no file.
    (ungraded / "p.jsonl").unlink()
    assert _grade(ungraded / "run")["correct"] == 1
    with pytest.raises(InputError, match=r"not at .* any more.*--gold FILE"):
        _grade(ungraded / "run", "--field", "answer=extra.final")


def test_grade_with_gold_answers_of_another_file(ungraded: Path) -> None:
    gold = ungraded / "gold.jsonl"
    gold.write_text('{"id": "b", "key": 5}\n{"id": "c", "key": 1}\n{"id": "z", "key": 1}\n')
    metrics = _grade(ungraded / "run", "--field", "answer=key", "--gold", str(gold))
    # An answer that failed counts as wrong.
    assert (metrics["graded"], metrics["correct"]) == (2, 1)
    information = json.loads((ungraded / "run" / "run.json").read_text())["information"]
    assert (information["gold"]["file"], information["gold"]["sha256"]) == ("gold.jsonl", sha256_of(gold))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"id": "a", "key": 4}], ["--field", "answer=kee"], 'No answer field: .* "kee".*id, key'),
        ([{"id": "a", "key": 4}], [], "No gold answers: .*the fields are: id, key"),
        ([{"id": "x", "answer": 4}], [], "Other problems: .*has x; the run has a, b, c"),
        ([{"id": "a", "answer": 4}, {"id": "a", "answer": 5}], [], "Duplicate ids"),
        ([{"id": "a", "question": "another", "answer": 4}], [], "line 1: the id a belongs to another question"),
    ],
)
def test_gold_files_that_do_not_fit_are_refused_and_change_nothing(
    ungraded: Path, rows: list[dict[str, Any]], options: list[str], message: str
) -> None:
    gold = ungraded / "gold.jsonl"
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = (ungraded / "run" / "answers.jsonl").read_bytes()
    with pytest.raises(InputError, match=message):
        _grade(ungraded / "run", *options, "--gold", str(gold))
    assert (ungraded / "run" / "answers.jsonl").read_bytes() == before


def test_line_numbers_of_another_file_are_no_ids(ungraded: Path) -> None:
    with RunFolder(ungraded / "lines") as folder:
        folder.begin({"problems_sha256": "other"}, {})
        folder.append(_answer("1", "so \\boxed{4}", None))
    (ungraded / "gold.jsonl").write_text('{"answer": 4}\n')
    with pytest.raises(InputError, match="neither ids nor questions"):
        _grade(ungraded / "lines", "--gold", str(ungraded / "gold.jsonl"))
