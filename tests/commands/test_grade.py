from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rstitch_local.commands.main import app
from rstitch_local.errors import InputError, RStitchError, StorageError
from rstitch_local.problems import answer_writer
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
    monkeypatch.setattr(answer_writer, "regrade", stop)
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
