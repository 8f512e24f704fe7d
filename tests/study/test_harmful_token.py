from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.builtin import word_problems
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.errors import InputError, StorageError
from rstitch_local.problems.grading import Grader
from rstitch_local.study.harmful_token import (
    Continuation,
    ContinuationStore,
    HarmSearch,
    Probe,
    candidates_of,
    continuation_check,
    find_harmful_token,
    probe,
    probe_positions,
)

POSITIONS = st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True).map(sorted)


@given(POSITIONS, st.data())
def test_bisection_finds_the_first_harmful_token(candidates: list[int], data: st.DataObject) -> None:
    harmful = data.draw(st.sampled_from(candidates))
    length = candidates[-1] + 1 + data.draw(st.integers(0, 5))
    checked: list[int] = []

    def is_correct_after(prefix: int) -> bool:
        checked.append(prefix)
        return prefix <= harmful

    found = find_harmful_token(candidates, length, is_correct_after)
    assert (found.outcome, found.position) == ("found", harmful)
    assert found.continuations == len(checked) <= 2 + math.ceil(math.log2(len(candidates)))
    # The probes confirm it at positions that were not checked before.
    positions = probe_positions("x", candidates, harmful)
    assert set(positions) <= set(candidates) - set(checked)
    assert all(
        probe(prefix, harmful, is_correct_after) == Probe(prefix, prefix <= harmful, True) for prefix in positions
    )


@given(POSITIONS, st.sets(st.integers(0, 201)))
def test_in_any_answer_bisection_finds_a_change_from_correct_to_incorrect(
    candidates: list[int], good: set[int]
) -> None:
    def is_correct_after(prefix: int) -> bool:
        return prefix in good or prefix == 0

    length = candidates[-1] + 1
    found = find_harmful_token(candidates, length, is_correct_after)
    if is_correct_after(length):
        assert found == HarmSearch("recovered", None, 2)
        return
    assert found.position is not None
    index = candidates.index(found.position)
    # Up to the first candidate the LLM generates the same tokens, so it is as good as the start.
    assert index == 0 or is_correct_after(found.position)
    assert index + 1 == len(candidates) or not is_correct_after(candidates[index + 1])


def test_an_answer_that_the_llm_gets_wrong_too_has_no_harmful_token() -> None:
    assert find_harmful_token([0, 3], 5, lambda _: False) == HarmSearch("llm_wrong", None, 1)


def test_probes_on_both_sides() -> None:
    candidates = list(range(10, 42))
    harmful = 26
    before, after = probe_positions("a", candidates, harmful)
    assert before < harmful < after
    assert probe_positions("a", candidates, harmful) == [before, after]
    assert probe(before, harmful, lambda _: False) == (before, True, False)
    assert probe(after, harmful, lambda _: True) == (after, False, False)
    assert probe(harmful, harmful, lambda _: True) == (harmful, True, True)
    assert probe_positions("a", [4], 4) == []


def test_candidates_are_the_tokens_the_llm_disagrees_with() -> None:
    row = {"answer_tokens": [5, 6, 7, 8], "agrees": [True, False, True, False]}
    assert candidates_of(row) == [1, 3]
    assert candidates_of({**row, "agrees": [True, False]}) == [1, 2, 3]
    assert candidates_of({**row, "agrees": [True] * 4}) == [0, 1, 2, 3]


def test_a_partial_line_left_by_a_crash_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    store = ContinuationStore(path)
    store.add("a\u2028b", 3, Continuation(True, 12, "eog"))
    store.add("c", 0, Continuation(False, 5, "length"))
    with path.open("ab") as file:
        file.write(b'{"id": "c", "kept": 1, "corr')
    again = ContinuationStore(path)
    assert len(again) == 2
    assert again.get("a\u2028b", 3) == Continuation(True, 12, "eog")
    assert again.get("c", 1) is None
    again.add("c", 1, Continuation(True, 1, "eog"))
    assert [json.loads(line)["kept"] for line in path.read_text().splitlines()] == [3, 0, 1]


@pytest.mark.parametrize("line", ["[]", "null", '{"id": "a"}', "x", '{"id": "a", "kept": "b"}'])
def test_an_unreadable_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(f'{{"id": "a", "kept": 1, "correct": true, "tokens": 1, "stop": "eog"}}\n{line}\n')
    with pytest.raises(InputError, match="Line 2"):
        ContinuationStore(path)


def test_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ContinuationStore(tmp_path)
    with pytest.raises(StorageError):
        ContinuationStore(tmp_path / "none" / "v.jsonl").add("a", 1, Continuation(True, 1, "eog"))


def test_the_llm_continues_from_a_prefix_of_the_slm(tmp_path: Path) -> None:
    # The SLM's answer contains 400+295=795; the LLM alone answers correctly.
    problem = word_problems.generate(word_problems.EVALUATION_SEED, 9)
    messages = [{"role": "user", "content": problem.question}]
    with load_pair("demo", options=LoadOptions(threads=1)) as pair, Grader() as grader:
        run = pair.chat(messages, router="slm")
        steps = list(run)
        row: dict[str, Any] = {
            "id": "w",
            "gold": str(problem.answer),
            "correct": False,
            "stop": "eog",
            "answer_tokens": [step.token for step in steps],
            "entropies": [step.entropy for step in steps],
        }
        assert run.trace.text.endswith("400+295=795\n\\boxed{795}")
        wrong = run.trace.text[: run.trace.text.index("795") + 1]
        harmful = next(i for i in range(len(steps)) if "".join(s.text for s in steps[: i + 1]) == wrong)
        store = ContinuationStore(tmp_path / "v.jsonl")
        is_correct_after = continuation_check(pair, row, messages, None, grader, store)
        assert [is_correct_after(prefix) for prefix in (0, harmful, harmful + 1, len(steps))] == [
            True,
            True,
            False,
            False,
        ]
        stored = store.get("w", harmful)
        assert stored is not None
        assert (stored.correct, stored.stop) == (True, "eog")
        assert len(store) == 3
        assert (len(store.of({"w"})), store.of({"x"})) == (3, [])
        # An answer that was cut off before its mistake: the LLM still answers correctly after it.
        cut = {**row, "stop": "length", **{name: row[name][:harmful] for name in ("answer_tokens", "entropies")}}
        check = continuation_check(pair, cut, messages, None, grader, store)
        assert find_harmful_token([harmful - 1], harmful, check) == HarmSearch("recovered", None, 2)
        # max_tokens limits the continuation only, not the prefix.
        other = ContinuationStore(tmp_path / "other.jsonl")
        assert continuation_check(pair, row, messages, stored.tokens, grader, other)(harmful)
        assert other.get("w", harmful) == stored
        # One token is not enough.
        short = continuation_check(pair, row, messages, 1, grader, ContinuationStore(tmp_path / "w.jsonl"))
        assert not short(harmful)
    # The pair is closed: stored continuations do not need it.
    assert is_correct_after(harmful)
