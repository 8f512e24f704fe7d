from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.learning.reward import AnswerChecker, advantages, informative, price_of, reward

milliseconds = st.floats(0, 1e6)
prices = st.floats(0, 1e-2)


@given(milliseconds, milliseconds, prices)
def test_a_wrong_answer_never_gains_by_being_short(short: float, long: float, latency_penalty: float) -> None:
    assert reward(False, short, latency_penalty) == reward(False, long, latency_penalty) == 0.0


@given(st.tuples(milliseconds, milliseconds).map(sorted), prices)
def test_a_right_answer_pays_for_its_time(times: list[float], latency_penalty: float) -> None:
    assert reward(True, times[0], latency_penalty) >= reward(True, times[1], latency_penalty)
    assert reward(True, times[0], latency_penalty) == 1 - latency_penalty * times[0]


def test_the_price_makes_the_llm_alone_pay_three_tenths() -> None:
    latency_penalty = price_of([100.0, 300.0])
    assert latency_penalty * 200 == pytest.approx(0.3)
    assert reward(True, 200, latency_penalty) == pytest.approx(0.7)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5), st.floats(0, 1))
def test_advantages_of_a_group_add_up_to_nothing(rows: list[list[float]], floor: float) -> None:
    rewards = np.array(rows)
    found = advantages(rewards, floor)
    assert found.shape == rewards.shape
    assert np.abs(found.sum(axis=1)).max() < 1e-6
    for row, own in zip(rewards, found, strict=True):
        if informative(row.tolist()):
            # The better answer never has the smaller advantage.
            assert (np.diff(own[np.argsort(row)]) >= -1e-9).all()
            assert own.std() <= 1 + 1e-9
        else:
            assert not own.any()


def test_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [0.9, 0.8, 0.9, 0.8]])
    assert advantages(rewards, 0.0) == pytest.approx(np.array([[1, -1, -1, 1], [1, -1, 1, -1]]))
    # A floor of 0.5 is the first group's own spread, and ten times the second's.
    assert advantages(rewards, 0.5) == pytest.approx(np.array([[1, -1, -1, 1], [0.1, -0.1, 0.1, -0.1]]))


@pytest.fixture(scope="module")
def judge() -> Iterator[AnswerChecker]:
    judge = AnswerChecker()
    yield judge
    judge.close()


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("42", r"Steps:\n\boxed{42}", True),
        ("42", r"\boxed{ 42.0 }", True),
        ("42", r"\boxed{43}", False),
        ("1000", r"<think>\boxed{7}</think> \boxed{1,000}", True),
    ],
)
def test_numbers_are_judged_without_the_grading_process(
    judge: AnswerChecker, gold: str, text: str, right: bool
) -> None:
    assert judge.right(gold, text) is right
    assert judge._grader is None


def test_what_spelling_does_not_decide_is_graded() -> None:
    judge = AnswerChecker()
    try:
        assert judge.right("1/2", r"\boxed{0.5}")
        assert not judge.right("42", "nothing in a box, and no number")
        assert judge._grader is not None
    finally:
        judge.close()
