from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.learning.reward import Judge, advantages, informative, price_of, reward

milliseconds = st.floats(0, 1e6)
prices = st.floats(0, 1e-2)


@given(milliseconds, milliseconds, prices)
def test_a_wrong_answer_never_gains_by_being_short(short: float, long: float, price: float) -> None:
    assert reward(False, short, price) == reward(False, long, price) == 0.0


@given(st.tuples(milliseconds, milliseconds).map(sorted), prices)
def test_a_right_answer_pays_for_its_time(times: list[float], price: float) -> None:
    assert reward(True, times[0], price) >= reward(True, times[1], price)
    assert reward(True, times[0], price) == 1 - price * times[0]


def test_the_price_makes_the_llm_alone_pay_three_tenths() -> None:
    price = price_of([100.0, 300.0])
    assert price * 200 == pytest.approx(0.3)
    assert reward(True, 200, price) == pytest.approx(0.7)


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
def judge() -> Iterator[Judge]:
    judge = Judge()
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
def test_numbers_are_judged_without_the_grading_process(judge: Judge, gold: str, text: str, right: bool) -> None:
    assert judge.right(gold, text) is right
    assert judge._grader is None


def test_what_spelling_does_not_decide_is_graded() -> None:
    judge = Judge()
    try:
        assert judge.right("1/2", r"\boxed{0.5}")
        assert not judge.right("42", "nothing in a box, and no number")
        assert judge._grader is not None
    finally:
        judge.close()
