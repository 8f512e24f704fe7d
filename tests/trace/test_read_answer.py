"""Reading one answer from a JSON file: traces, exported chats, damaged and missing files."""

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
from rstitch_local.trace.page.answer import answer_page
from rstitch_local.trace.reading import read_answer
from rstitch_local.trace.record import Trace

SAMPLES = Path(__file__).parents[1] / "samples" / "v0.1"


def trace_of(text: str) -> Trace:
    steps = [
        Step(position, Role.LLM if position == 1 else Role.SLM, 10 + position, letter, 0.1, 0.9, 1, 1.0)
        for position, letter in enumerate(text)
    ]
    return Trace(3, {"pair": "demo", "router": "entropy:0.02"}, steps, stop="eog", wall_ms=5.0, ttft_ms=1.0)


def read_error(path: Path, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_answer(path, *arguments)
    return str(caught.value)


def test_a_trace_by_itself(tmp_path: Path) -> None:
    for number, record in enumerate((trace_of("abc").to_dict(), trace_of("abc").to_columns())):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(record))
        answer = read_answer(file)
        assert answer.trace.to_dict() == trace_of("abc").to_dict()
        assert (answer.title, answer.correct, answer.verdict, answer.messages) == ("", None, "", None)


def chat(*traces: Trace) -> dict[str, Any]:
    """A question with one answer per trace as branches; the first one is selected."""
    messages: list[dict[str, Any]] = [
        {"id": 1, "parent": None, "role": "user", "prefix": "", "text": "What?", "trace": None}
    ]
    for number, trace in enumerate(traces, 2):
        message = {"id": number, "parent": 1, "role": "assistant", "prefix": "Well", "text": f"Well{trace.text}"}
        messages.append({**message, "trace": trace.to_dict()})
    return {"format": "rstitch-chat", "version": 1, "chat": {"title": "Sums"}, "branch": [1, 2], "messages": messages}


def test_an_exported_chat(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    first, second = trace_of("abc"), trace_of("def")
    first.taus = [(1, math.inf)]
    content = chat(first, second)
    content["messages"][1]["trace"]["taus"] = [[1, "inf"]]
    file.write_text(json.dumps(content, allow_nan=False))
    answer = read_answer(file)
    assert (answer.title, answer.question, answer.prefix) == ("Sums", "What?", "Well")
    assert answer.trace.text == "abc"
    assert answer.trace.taus == [(1, math.inf)]
    assert read_answer(file, "3").trace.text == "def"
    assert "no answer 9" in read_error(file, "9")
    assert "no answer 1." in read_error(file, "1")
    file.write_text(json.dumps(chat()))
    assert "no answer" in read_error(file)


@pytest.mark.parametrize("name", ["ask.json", "trace.json", "chat.json"])
def test_files_of_version_0_1(name: str) -> None:
    content = (SAMPLES / name).read_text(encoding="utf-8")
    answer = read_answer(SAMPLES / name)
    assert len(answer.trace.steps) == sum(answer.trace.tokens.values()) > 0
    assert json.dumps(answer.trace.text) in content


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"5", b"{}", b"\xff", b"[" * 100_000, b'{"format": "rstitch-chat"}']
)
def test_files_without_tokens(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    assert "is not a file with the tokens of an answer" in read_error(file)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "x.json does not exist" in read_error(tmp_path / "x.json")
    assert "cannot be read" in read_error(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_edited_file_is_shown_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content: Any = chat(trace_of("ab"))
    container = content
    while True:
        keys = sorted(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(container[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            container[key] = data.draw(json_values)
            break
        container = container[key]
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(content))
    try:
        answer = read_answer(file)
    except InputError:
        return
    assert answer_page(answer).startswith("<!DOCTYPE html>")
