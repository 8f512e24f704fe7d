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
    Harm,
    Probe,
    Verdict,
    Verdicts,
    candidates_of,
    continuation_oracle,
    find_harm,
    probe,
    probes_of,
)

PLACES = st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True).map(sorted)


@given(PLACES, st.data())
def test_the_first_harmful_token_is_found(candidates: list[int], data: st.DataObject) -> None:
    harmful = data.draw(st.sampled_from(candidates))
    length = candidates[-1] + 1 + data.draw(st.integers(0, 5))
    asked: list[int] = []

    def reaches(kept: int) -> bool:
        asked.append(kept)
        return kept <= harmful

    found = find_harm(candidates, length, reaches)
    assert (found.outcome, found.position) == ("found", harmful)
    assert found.continuations == len(asked) <= 2 + math.ceil(math.log2(len(candidates)))
    # Its check agrees with it, and asks of nothing that was asked before.
    again = probes_of("x", candidates, harmful)
    assert set(again) <= set(candidates) - set(asked)
    assert all(probe(kept, harmful, reaches) == Probe(kept, kept <= harmful, True) for kept in again)


@given(PLACES, st.sets(st.integers(0, 201)))
def test_of_any_answer_it_finds_a_place_where_the_right_answer_goes_out_of_reach(
    candidates: list[int], good: set[int]
) -> None:
    def reaches(kept: int) -> bool:
        return kept in good or kept == 0

    length = candidates[-1] + 1
    found = find_harm(candidates, length, reaches)
    if reaches(length):
        assert found == Harm("recovered", None, 2)
        return
    assert found.position is not None
    index = candidates.index(found.position)
    # The first candidate is as good as the beginning: up to it the LLM would write the same.
    assert index == 0 or reaches(found.position)
    assert index + 1 == len(candidates) or not reaches(candidates[index + 1])


def test_an_answer_the_llm_gets_wrong_anyway_has_none() -> None:
    assert find_harm([0, 3], 5, lambda _: False) == Harm("llm_wrong", None, 1)


def test_probes_on_both_sides() -> None:
    candidates = list(range(10, 42))
    harmful = 26
    before, after = probes_of("a", candidates, harmful)
    assert before < harmful < after
    assert probes_of("a", candidates, harmful) == [before, after]
    assert probe(before, harmful, lambda _: False) == (before, True, False)
    assert probe(after, harmful, lambda _: True) == (after, False, False)
    assert probe(harmful, harmful, lambda _: True) == (harmful, True, True)
    assert probes_of("a", [4], 4) == []


def test_candidates_are_what_the_llm_would_not_have_written() -> None:
    row = {"answer_tokens": [5, 6, 7, 8], "agrees": [True, False, True, False]}
    assert candidates_of(row) == [1, 3]
    assert candidates_of({**row, "agrees": [True, False]}) == [1, 2, 3]
    assert candidates_of({**row, "agrees": [True] * 4}) == [0, 1, 2, 3]


def test_verdicts_survive_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    verdicts = Verdicts(path)
    verdicts.add("a\u2028b", 3, Verdict(True, 12, "eog"))
    verdicts.add("c", 0, Verdict(False, 5, "length"))
    with path.open("ab") as file:
        file.write(b'{"id": "c", "kept": 1, "corr')
    again = Verdicts(path)
    assert len(again) == 2
    assert again.get("a\u2028b", 3) == Verdict(True, 12, "eog")
    assert again.get("c", 1) is None
    again.add("c", 1, Verdict(True, 1, "eog"))
    assert [json.loads(line)["kept"] for line in path.read_text().splitlines()] == [3, 0, 1]


@pytest.mark.parametrize("line", ["[]", "null", '{"id": "a"}', "x", '{"id": "a", "kept": "b"}'])
def test_verdicts_that_are_none_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(f'{{"id": "a", "kept": 1, "correct": true, "tokens": 1, "stop": "eog"}}\n{line}\n')
    with pytest.raises(InputError, match="Line 2"):
        Verdicts(path)


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Verdicts(tmp_path)
    with pytest.raises(StorageError):
        Verdicts(tmp_path / "none" / "v.jsonl").add("a", 1, Verdict(True, 1, "eog"))


def test_the_llm_goes_on_from_the_slm_s_words(tmp_path: Path) -> None:
    # The SLM writes 400+295=795 here, and the LLM alone gets it right.
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
        verdicts = Verdicts(tmp_path / "v.jsonl")
        reaches = continuation_oracle(pair, row, messages, None, grader, verdicts)
        assert [reaches(kept) for kept in (0, harmful, harmful + 1, len(steps))] == [True, True, False, False]
        known = verdicts.get("w", harmful)
        assert known is not None
        assert (known.correct, known.stop) == (True, "eog")
        assert len(verdicts) == 3
        assert (len(verdicts.of({"w"})), verdicts.of({"x"})) == (3, [])
        # Cut off before its mistake, the answer is still in the LLM's reach at its end.
        cut = {**row, "stop": "length", **{name: row[name][:harmful] for name in ("answer_tokens", "entropies")}}
        still = continuation_oracle(pair, cut, messages, None, grader, verdicts)
        assert find_harm([harmful - 1], harmful, still) == Harm("recovered", None, 2)
        # A continuation has a budget of its own, to the token; what was kept does not count.
        apart = Verdicts(tmp_path / "apart.jsonl")
        assert continuation_oracle(pair, row, messages, known.tokens, grader, apart)(harmful)
        assert apart.get("w", harmful) == known
        # With a budget of one token nothing is reached, whatever was kept.
        short = continuation_oracle(pair, row, messages, 1, grader, Verdicts(tmp_path / "w.jsonl"))
        assert not short(harmful)
    # The pair is closed: what is known needs none.
    assert reaches(harmful)
