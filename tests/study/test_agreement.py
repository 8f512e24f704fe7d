from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.agreement import AgreementRun, agreement_metrics, computed_speed_up, draft_rounds


def answer(identifier: str, **changes: Any) -> dict[str, Any]:
    """Return a row of answers.jsonl with 4 tokens, 2 ms each if the LLM generated them."""
    return {
        "id": identifier,
        "correct": True,
        "stop": "eog",
        "answer_tokens": [1, 2, 3, 4],
        "agrees": [True, True, False, True],
        "other_decode_ms": 1.0,
        "evaluated": {"llm": {"decode": 4}},
        "ms": {"llm": {"decode": 8.0}},
        **changes,
    }


def test_draft_rounds_by_hand() -> None:
    yes, no = True, False
    # Three tokens drafted, the third rejected and replaced; then one token is left.
    assert draft_rounds([yes, yes, no, yes], 3) == [(3, 2), (1, 1)]
    # All accepted, and the LLM adds the fourth.
    assert draft_rounds([yes] * 4, 3) == [(3, 3)]
    assert draft_rounds([no, no], 4) == [(2, 0), (1, 0)]
    assert draft_rounds([], 2) == []


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 16))
def test_draft_rounds_cover_the_whole_answer(agrees: list[bool], draft_length: int) -> None:
    position = 0
    for drafted, accepted in draft_rounds(agrees, draft_length):
        assert accepted <= drafted <= draft_length
        assert all(agrees[position : position + accepted])
        if accepted < drafted:
            assert not agrees[position + accepted]
        position += accepted + 1
    # The LLM's token of the last round may follow the end of the answer.
    assert position in (len(agrees), len(agrees) + 1)


def test_the_speed_up_by_hand() -> None:
    # Two rounds: 3 and 1 SLM tokens, evaluations of 4 and 2 tokens that take 1.6 and 1.2 times as long as one.
    cost = 4 * 1.0 + (1.6 + 1.2) * 10.0
    speed_up = computed_speed_up(
        [True, True, False, True], 3, slm_ms=1.0, llm_ms=10.0, batch_ms={1: 5.0, 2: 6.0, 4: 8.0}
    )
    assert speed_up == pytest.approx(40 / cost)
    assert computed_speed_up([], 3, slm_ms=1.0, llm_ms=10.0, batch_ms={1: 5.0}) is None
    assert computed_speed_up([True], 3, slm_ms=1.0, llm_ms=10.0, batch_ms={}) is None


def test_metrics_by_hand() -> None:
    slm = [answer("a", answer_tokens=[1]), answer("b", correct=False, stop="length"), answer("c", stop="error")]
    llm = [answer("a"), answer("b", agrees=[True] * 4, correct=None), answer("c")]
    metrics = agreement_metrics(AgreementRun(slm, llm, {1: 2.0, 17: 2.0}))
    assert metrics.errors == 1
    assert metrics.agreement == 7 / 8
    assert metrics.quartiles == pytest.approx((0.8125, 0.875, 0.9375))
    assert (metrics.slm_ms, metrics.llm_ms) == (1.0, 2.0)
    first, second = metrics.problems
    assert (first.slm_tokens, first.llm_tokens, first.agreement) == (1, 4, 0.75)
    assert (second.slm_correct, second.llm_correct, second.cut_off) == (False, None, ("slm",))
    # With drafts of one token, a round takes 1 + 2 ms; the LLM alone takes 2 ms for each of 4 tokens.
    one = metrics.drafts[0]
    assert [draft_rounds(row["agrees"], 1) for row in llm[:2]] == [[(1, 1), (1, 0), (1, 1)], [(1, 1), (1, 1)]]
    assert (one.draft, one.problems) == (1, 2)
    assert one.speed_up == pytest.approx(16 / (3 * 3 + 2 * 3))
    assert one.accepted == pytest.approx(4 / 5)
    assert metrics.best == max(metrics.drafts, key=lambda speedup: speedup.speed_up).draft


def test_the_dictionary_has_the_names_of_agreement_json() -> None:
    record = agreement_metrics(AgreementRun([answer("a")], [answer("a")], {1: 2.0, 17: 2.0})).to_dict()
    assert list(record) == [
        "problems", "errors", "agreement", "quartiles", "drafts", "best", "pass_ms", "slm_ms", "llm_ms", "speed_ups",
    ]  # fmt: skip
    assert list(record["problems"][0]) == [
        "id", "slm_tokens", "llm_tokens", "slm_correct", "llm_correct", "cut_off", "agreement", "speed_ups", "slm_ms",
        "llm_ms", "agreed", "read",
    ]  # fmt: skip
    assert list(record["drafts"][0]) == ["draft", "speed_up", "median", "faster", "problems", "accepted"]


def test_metrics_without_times() -> None:
    untimed = answer("a", other_decode_ms=None, agrees=[])
    metrics = agreement_metrics(AgreementRun([answer("a")], [untimed], {}))
    assert (metrics.agreement, metrics.best, metrics.drafts) == (None, None, [])
