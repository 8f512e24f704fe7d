"""Finding an answer in a run, in a file of its own, in an exported chat; and what is said where there is none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import InputError
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.study.trace_page import page_view, trace_page
from rstitch_local.study.trace_source import LoadedAnswer, open_answer
from rstitch_local.trace.prediction import Candidate, Prediction
from rstitch_local.trace.record import Trace

MODELS = {"slm_sha256": "a" * 64, "llm_sha256": "b" * 64, "context": 256, "kv_type": "f16"}


def trace_of(text: str) -> Trace:
    steps = [
        Step(place, Role.LLM if place == 1 else Role.SLM, 10 + place, letter, 0.1, 0.9, 1, 1.0)
        for place, letter in enumerate(text)
    ]
    trace = Trace(3, {"pair": "demo", "router": "entropy:0.02"}, steps, stop="eog", wall_ms=5.0, ttft_ms=1.0)
    for step in steps:
        trace.tokens[step.role] += 1
    return trace


def line(identifier: str, trace: Trace, sample: int = 0, **changes: Any) -> dict[str, Any]:
    totals = {name: value for name, value in trace.totals().items() if name not in ("kept", "taus")}
    base = {"id": identifier, "sample": sample, "answer": "4", "gold": "4", "correct": True, "text": trace.text}
    return {**base, **totals, "error": None, **changes}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Answers to three problems, one of them twice; one failed at once, and the tokens of one were not kept."""
    with RunFolder(tmp_path / "run") as folder:
        folder.begin({"prompt": "Q: {question}", "models": MODELS}, {"created": "then"})
        for identifier, sample in (("algebra/1", 0), ("algebra/1", 1), ("algebra/12", 0)):
            trace = trace_of(f"{identifier} {sample}")
            folder.append_trace((identifier, sample), "What?", trace.to_columns())
            folder.append(line(identifier, trace, sample))
        folder.append(line("old", trace_of("old")))
        folder.append(line("failed", trace_of(""), stop="error", answer=None, error="Too long: 9 tokens."))
    return tmp_path / "run"


def refused(path: Path, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_answer(path, *arguments)
    return str(caught.value)


def test_an_answer_is_found_by_folder_and_by_either_file(run: Path) -> None:
    for path in (run, run / "answers.jsonl", run / "traces.jsonl"):
        looked = open_answer(path, "algebra/1", 1)
        assert looked.title == "algebra/1, sample 1"
        assert looked.trace.text == "algebra/1 1"
        assert looked.question == "What?"
        assert looked.messages == [{"role": "user", "content": "Q: What?"}]
        assert looked.models == MODELS
        assert looked.verdict == (True, "right: 4")


def test_wrong_ids_and_samples_are_told_what_there_is(run: Path) -> None:
    assert "Close to it: algebra/12, algebra/1." in refused(run, "algebra/2")
    assert "Close to it: algebra/1, algebra/12." in refused(run, "algebra")
    assert "There are: algebra/1, algebra/12, old, failed." in refused(run, "zzz")
    assert "It has: 0, 1." in refused(run, "algebra/1", 2)
    assert "answers to 4 problems" in refused(run)


def test_the_only_answer_needs_no_id(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin({}, {})
        folder.append_trace(("x", 0), "?", trace_of("only").to_columns())
        folder.append(line("x", trace_of("only")))
    looked = open_answer(tmp_path)
    assert looked.trace.text == "only"
    # A header that says nothing of prompt and models.
    assert (looked.messages, looked.models) == (None, {})


def test_tokens_that_were_not_kept_are_missed_in_plain_words(run: Path, tmp_path: Path) -> None:
    said = refused(run, "old")
    assert "has the answer old but not its tokens" in said
    assert "into another folder" in said
    assert "failed before its first token: Too long: 9 tokens." in refused(run, "failed")
    (run / "traces.jsonl").unlink()
    assert "not its tokens" in refused(run, "algebra/1")
    (tmp_path / "empty").mkdir()
    assert "holds no answers.jsonl" in refused(tmp_path / "empty", "x")


def test_tokens_of_another_attempt_are_not_passed_off_as_the_answers(run: Path) -> None:
    with RunFolder(run) as folder:
        folder.append(line("algebra/12", trace_of("another text")))
    assert "not its tokens" in refused(run, "algebra/12")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, (True, "right: 4")),
        ({"correct": False, "gold": "5"}, (False, "wrong: said 4, gold 5")),
        ({"correct": False, "gold": "5", "answer": None}, (False, "wrong: no answer found, gold 5")),
        ({"correct": None, "gold": None}, (None, "said 4; there is no gold answer")),
        ({"correct": False, "stop": "error", "error": "NaN\x1b[2J."}, (False, "error: NaN[2J.")),
    ],
)
def test_verdicts_in_words(changes: dict[str, Any], verdict: tuple[bool | None, str]) -> None:
    assert LoadedAnswer("x", trace_of("x"), answer=line("x", trace_of("x"), **changes)).verdict == verdict


def test_a_trace_from_python_is_a_file_of_its_own(tmp_path: Path) -> None:
    for number, record in enumerate((trace_of("abc").to_dict(), trace_of("abc").to_columns())):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(record))
        looked = open_answer(file)
        assert looked.trace.to_dict() == trace_of("abc").to_dict()
        assert (looked.title, looked.verdict, looked.messages) == ("", (None, ""), None)


def chat(*traces: Trace) -> dict[str, Any]:
    """A question and, as its branches, an answer for each trace; the first one is shown."""
    messages: list[dict[str, Any]] = [
        {"id": 1, "parent": None, "role": "user", "prefix": "", "text": "What?", "trace": None}
    ]
    for number, trace in enumerate(traces, 2):
        said = {"id": number, "parent": 1, "role": "assistant", "prefix": "Well", "text": f"Well{trace.text}"}
        messages.append({**said, "trace": trace.to_dict()})
    return {"format": "rstitch-chat", "version": 1, "chat": {"title": "Sums"}, "branch": [1, 2], "messages": messages}


def test_an_exported_chat(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    first, second = trace_of("abc"), trace_of("def")
    first.taus = [(1, math.inf)]
    content = chat(first, second)
    content["messages"][1]["trace"]["taus"] = [[1, "inf"]]
    file.write_text(json.dumps(content, allow_nan=False))
    looked = open_answer(file)
    assert (looked.title, looked.question, looked.prefix) == ("Sums", "What?", "Well")
    assert looked.trace.text == "abc"
    assert looked.trace.taus == [(1, math.inf)]
    assert open_answer(file, "3").trace.text == "def"
    assert "no answer 9" in refused(file, "9")
    assert "no answer 1." in refused(file, "1")
    file.write_text(json.dumps(chat()))
    assert "no answer" in refused(file)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"5", b"{}", b"\xff", b"[" * 100_000, b'{"format": "rstitch-chat"}']
)
def test_files_that_hold_no_tokens(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    assert "none of the files that hold the tokens" in refused(file)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    assert "is not there" in refused(tmp_path / "x.json")
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"id": 1}\n{"id": 2}\n')
    assert "those of a run are in traces.jsonl" in refused(problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_somebody_has_been_at_is_shown_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content: Any = chat(trace_of("ab"))
    place = content
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            place[key] = data.draw(json_values)
            break
        place = place[key]
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(content))
    try:
        looked = open_answer(file)
    except InputError:
        return
    assert trace_page(looked).startswith("<!DOCTYPE html>")


def test_the_page_of_an_answer_has_its_verdict_and_question() -> None:
    nasty = "</script><b>\u202e\x1b[31m"
    looked = LoadedAnswer("id " + nasty, trace_of("ab"), nasty, line("x", trace_of("ab"), correct=False, gold=nasty))
    html = trace_page(looked)
    assert "✗</b> wrong: said 4, gold &lt;/script&gt;&lt;b&gt;[31m" in html
    assert html.count("&lt;/script&gt;&lt;b&gt;[31m") == 4
    assert "\u202e" not in html
    assert html.count("<script>") == html.count("</script>") == 1
    assert "Question" not in trace_page(LoadedAnswer("", trace_of("ab")))


def test_the_token_that_stands_there_is_marked_in_both_lists() -> None:
    trace = trace_of("abc")
    views = {
        Role.SLM: Prediction(0.5, [Candidate(99, "x", 0.6), Candidate(98, "b", 0.4)]),
        # The writer's is found by its id, whatever it is called.
        Role.LLM: Prediction(0.25, [Candidate(11, "b", 0.9), Candidate(98, "c", 0.1)]),
    }
    assert page_view(trace, 1, views) == [
        ("SLM", "0.5000", [("x", 0.6, False), ("b", 0.4, True)]),
        ("LLM", "0.2500", [("b", 0.9, True), ("c", 0.1, False)]),
    ]
