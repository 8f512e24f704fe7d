"""Finding one answer in a run folder, and the errors if it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import InputError
from rstitch_local.problems.answer_lookup import grading_verdict, open_answer
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.trace.record import Trace

MODELS = {"slm_sha256": "a" * 64, "llm_sha256": "b" * 64, "context": 256, "kv_type": "f16"}


def trace_of(text: str) -> Trace:
    steps = [
        Step(position, Role.LLM if position == 1 else Role.SLM, 10 + position, letter, 0.1, 0.9, 1, 1.0)
        for position, letter in enumerate(text)
    ]
    trace = Trace(3, {"pair": "demo", "router": "entropy:0.02"}, steps, stop="eog", wall_ms=5.0, ttft_ms=1.0)
    for step in steps:
        trace.tokens[step.role] += 1
    return trace


def answer_row(identifier: str, trace: Trace, sample: int = 0, **changes: Any) -> dict[str, Any]:
    totals = {name: value for name, value in trace.totals().items() if name not in ("kept", "taus")}
    base = {"id": identifier, "sample": sample, "answer": "4", "gold": "4", "correct": True, "text": trace.text}
    return {**base, **totals, "error": None, **changes}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Answers to four problems: two samples of one, one without stored tokens, one that failed."""
    with RunFolder(tmp_path / "run") as folder:
        folder.begin({"prompt": "Q: {question}", "models": MODELS}, {"created": "then"})
        for identifier, sample in (("algebra/1", 0), ("algebra/1", 1), ("algebra/12", 0)):
            trace = trace_of(f"{identifier} {sample}")
            folder.append_trace((identifier, sample), "What?", trace.to_columns())
            folder.append(answer_row(identifier, trace, sample))
        folder.append(answer_row("old", trace_of("old")))
        folder.append(answer_row("failed", trace_of(""), stop="error", answer=None, error="Too long: 9 tokens."))
    return tmp_path / "run"


def lookup_error(path: Path, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_answer(path, *arguments)
    return str(caught.value)


def test_an_answer_is_found_by_folder_and_by_either_file(run: Path) -> None:
    for path in (run, run / "answers.jsonl", run / "traces.jsonl"):
        answer = open_answer(path, "algebra/1", 1)
        assert answer.title == "algebra/1, sample 1"
        assert answer.trace.text == "algebra/1 1"
        assert answer.question == "What?"
        assert answer.messages == [{"role": "user", "content": "Q: What?"}]
        assert answer.models == MODELS
        assert (answer.correct, answer.verdict) == (True, "correct: 4")


def test_an_unknown_id_or_sample_lists_the_available_ones(run: Path) -> None:
    assert "Similar ids: algebra/12, algebra/1." in lookup_error(run, "algebra/2")
    assert "Similar ids: algebra/1, algebra/12." in lookup_error(run, "algebra")
    assert "Available ids: algebra/1, algebra/12, old, failed." in lookup_error(run, "zzz")
    assert "Available samples: 0, 1." in lookup_error(run, "algebra/1", 2)
    assert "answers to 4 problems" in lookup_error(run)


def test_the_only_answer_needs_no_id(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin({}, {})
        folder.append_trace(("x", 0), "?", trace_of("only").to_columns())
        folder.append(answer_row("x", trace_of("only")))
    answer = open_answer(tmp_path)
    assert answer.trace.text == "only"
    # The header has neither prompt nor models.
    assert (answer.messages, answer.models) == (None, {})


def test_missing_tokens_are_reported(run: Path, tmp_path: Path) -> None:
    message = lookup_error(run, "old")
    assert "has the answer old but not its tokens" in message
    assert "into another folder" in message
    assert "failed before its first token: Too long: 9 tokens." in lookup_error(run, "failed")
    (run / "traces.jsonl").unlink()
    assert "not its tokens" in lookup_error(run, "algebra/1")
    (tmp_path / "empty").mkdir()
    assert "contains no answers.jsonl" in lookup_error(tmp_path / "empty", "x")


def test_tokens_of_an_earlier_attempt_are_not_shown(run: Path) -> None:
    with RunFolder(run) as folder:
        folder.append(answer_row("algebra/12", trace_of("another text")))
    assert "not its tokens" in lookup_error(run, "algebra/12")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, (True, "correct: 4")),
        ({"correct": False, "gold": "5"}, (False, "wrong: answered 4, gold answer 5")),
        ({"correct": False, "gold": "5", "answer": None}, (False, "wrong: no answer found, gold answer 5")),
        ({"correct": None, "gold": None}, (None, "answered 4; no gold answer")),
        ({"correct": False, "stop": "error", "error": "NaN\x1b[2J."}, (False, "error: NaN[2J.")),
        ({"correct": False, "stop": "error", "error": None}, (False, "error: unknown error")),
    ],
)
def test_grading_verdicts(changes: dict[str, Any], verdict: tuple[bool | None, str]) -> None:
    assert grading_verdict(answer_row("x", trace_of("x"), **changes)) == verdict


def test_other_files_are_read_as_json(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(trace_of("abc").to_dict()))
    assert open_answer(file).trace.text == "abc"
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"id": 1}\n{"id": 2}\n')
    assert "the folder of a run" in lookup_error(problems)
