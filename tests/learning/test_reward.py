from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.learning.reward import (
    AnswerChecker,
    advantages,
    automatic_latency_penalty,
    informative,
    reward,
)

milliseconds = st.floats(0, 1e6)
penalties = st.floats(0, 1e-2)


@given(milliseconds, milliseconds, penalties)
def test_a_wrong_answer_has_no_reward_for_being_short(short: float, long: float, latency_penalty: float) -> None:
    assert reward(False, short, latency_penalty) == reward(False, long, latency_penalty) == 0.0


@given(st.tuples(milliseconds, milliseconds).map(sorted), penalties)
def test_a_correct_answer_is_penalized_for_latency(times: list[float], latency_penalty: float) -> None:
    assert reward(True, times[0], latency_penalty) >= reward(True, times[1], latency_penalty)
    assert reward(True, times[0], latency_penalty) == 1 - latency_penalty * times[0]


def test_the_automatic_penalty_takes_three_tenths_from_the_llm_alone() -> None:
    latency_penalty = automatic_latency_penalty([100.0, 300.0])
    assert latency_penalty * 200 == pytest.approx(0.3)
    assert reward(True, 200, latency_penalty) == pytest.approx(0.7)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5), st.floats(0, 1))
def test_advantages_of_a_group_sum_to_zero(rows: list[list[float]], std_floor: float) -> None:
    rewards = np.array(rows)
    result = advantages(rewards, std_floor)
    assert result.shape == rewards.shape
    assert np.abs(result.sum(axis=1)).max() < 1e-6
    for row, of_row in zip(rewards, result, strict=True):
        if informative(row.tolist()):
            # Advantages have the order of the rewards.
            assert (np.diff(of_row[np.argsort(row)]) >= -1e-9).all()
            assert of_row.std() <= 1 + 1e-9
        else:
            assert not of_row.any()


def test_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [0.9, 0.8, 0.9, 0.8]])
    assert advantages(rewards, 0.0) == pytest.approx(np.array([[1, -1, -1, 1], [1, -1, 1, -1]]))
    # A floor of 0.5 equals the standard deviation of the first group and is ten times that of the second.
    assert advantages(rewards, 0.5) == pytest.approx(np.array([[1, -1, -1, 1], [0.1, -0.1, 0.1, -0.1]]))


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    checker = AnswerChecker()
    yield checker
    checker.close()


@pytest.mark.parametrize(
    ("gold", "text", "correct"),
    [
        ("42", r"Steps:\n\boxed{42}", True),
        ("42", r"\boxed{ 42.0 }", True),
        ("42", r"\boxed{43}", False),
        ("1000", r"<think>\boxed{7}</think> \boxed{1,000}", True),
    ],
)
def test_numbers_are_checked_without_the_grading_process(
    checker: AnswerChecker, gold: str, text: str, correct: bool
) -> None:
    assert checker.is_correct(gold, text) is correct
    assert checker._grader is None


def test_other_answers_are_graded() -> None:
    checker = AnswerChecker()
    try:
        assert checker.is_correct("1/2", r"\boxed{0.5}")
        assert not checker.is_correct("42", "nothing in a box, and no number")
        assert checker._grader is not None
    finally:
        checker.close()
