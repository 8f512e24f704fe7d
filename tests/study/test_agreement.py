from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.agreement import AgreementRun, agreement_metrics, computed_speed_up, draft_rounds


def line(identifier: str, **changes: Any) -> dict[str, Any]:
    """A line of answers.jsonl of 4 tokens, 2 ms each where the LLM wrote them."""
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


def test_rounds_by_hand() -> None:
    yes, no = True, False
    # Three drafted, the third refused and replaced; then one left.
    assert draft_rounds([yes, yes, no, yes], 3) == [(3, 2), (1, 1)]
    # All accepted, and the LLM adds the fourth.
    assert draft_rounds([yes] * 4, 3) == [(3, 3)]
    assert draft_rounds([no, no], 4) == [(2, 0), (1, 0)]
    assert draft_rounds([], 2) == []


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 16))
def test_rounds_write_the_whole_answer(agrees: list[bool], draft: int) -> None:
    place = 0
    for drafted, accepted in draft_rounds(agrees, draft):
        assert accepted <= drafted <= draft
        assert all(agrees[place : place + accepted])
        if accepted < drafted:
            assert not agrees[place + accepted]
        place += accepted + 1
    # The LLM's own token may come after the end of the answer, where it is not needed.
    assert place in (len(agrees), len(agrees) + 1)


def test_speed_up_by_hand() -> None:
    # Two rounds: 3 and 1 SLM tokens, passes over 4 and 2 tokens that cost 1.6 and 1.2 times one.
    cost = 4 * 1.0 + (1.6 + 1.2) * 10.0
    found = computed_speed_up([True, True, False, True], 3, slm_ms=1.0, llm_ms=10.0, pass_ms={1: 5.0, 2: 6.0, 4: 8.0})
    assert found == pytest.approx(40 / cost)
    assert computed_speed_up([], 3, slm_ms=1.0, llm_ms=10.0, pass_ms={1: 5.0}) is None
    assert computed_speed_up([True], 3, slm_ms=1.0, llm_ms=10.0, pass_ms={}) is None


def test_figures_by_hand() -> None:
    slm = [line("a", answer_tokens=[1]), line("b", correct=False, stop="length"), line("c", stop="error")]
    llm = [line("a"), line("b", agrees=[True] * 4, correct=None), line("c")]
    figures = agreement_metrics(AgreementRun(slm, llm, {1: 2.0, 17: 2.0}))
    assert figures.errors == 1
    assert figures.agreement == 7 / 8
    assert figures.quartiles == pytest.approx((0.8125, 0.875, 0.9375))
    assert (figures.slm_ms, figures.llm_ms) == (1.0, 2.0)
    first, second = figures.problems
    assert (first.slm_tokens, first.llm_tokens, first.agreement) == (1, 4, 0.75)
    assert (second.slm_correct, second.llm_correct, second.cut_off) == (False, None, ("slm",))
    # Drafts of one: two rounds of 1 + 2 ms each, against 4 tokens of 2 ms, in `a`: accepted, refused, last.
    one = figures.drafts[0]
    assert [draft_rounds(row["agrees"], 1) for row in llm[:2]] == [[(1, 1), (1, 0), (1, 1)], [(1, 1), (1, 1)]]
    assert (one.draft, one.problems) == (1, 2)
    assert one.speed_up == pytest.approx(16 / (3 * 3 + 2 * 3))
    assert one.accepted == pytest.approx(4 / 5)
    assert figures.best == max(figures.drafts, key=lambda found: found.speed_up).draft


def test_nothing_could_be_timed() -> None:
    untimed = line("a", other_decode_ms=None, agrees=[])
    figures = agreement_metrics(AgreementRun([line("a")], [untimed], {}))
    assert (figures.agreement, figures.best, figures.drafts) == (None, None, [])
