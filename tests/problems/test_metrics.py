from __future__ import annotations

import itertools
import statistics
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from problem_fakes import row

from rstitch_local.problems.metrics import accuracy, maj_at, pass_at, pass_at_k, summary, wilson

VERDICTS = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=8)


def _rows(verdicts: list[list[bool]]) -> list[dict[str, Any]]:
    return [
        row(f"p{index}", correct, sample=sample)
        for index, problem in enumerate(verdicts)
        for sample, correct in enumerate(problem)
    ]


def test_wilson_matches_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        assert wilson(right / trials, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0.5, 0) == (0.0, 1.0)


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_contains_the_share(right: int, trials: int) -> None:
    share = min(right, trials) / trials
    low, high = wilson(share, trials)
    assert 0 <= low <= share <= high <= 1


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(verdicts: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(verdicts)))
    choices = list(itertools.combinations(verdicts, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert pass_at_k(len(verdicts), sum(verdicts), k) == pytest.approx(expected)


def test_pass_at_k_needs_enough_samples() -> None:
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(2, 1, 3)


@given(VERDICTS)
def test_pass_at_averages_over_problems_with_enough_samples(verdicts: list[list[bool]]) -> None:
    shares = pass_at(_rows(verdicts))
    assert list(shares) == [str(k) for k in range(1, max(map(len, verdicts)) + 1)]
    for name, value in shares.items():
        eligible = [problem for problem in verdicts if len(problem) >= int(name)]
        expected = [
            statistics.fmean(any(choice) for choice in itertools.combinations(problem, int(name)))
            for problem in eligible
        ]
        assert value == pytest.approx(statistics.fmean(expected))


@given(st.lists(st.sampled_from([None, "1", "1.0", "2", "$2$", "3"]), min_size=1, max_size=7))
def test_maj_at_against_a_simple_implementation(answers: list[str | None]) -> None:
    same = {"1": 1, "1.0": 1, "2": 2, "$2$": 2, "3": 3}
    rows = [row("p", same.get(text or "") == 2, sample=place, answer=text) for place, text in enumerate(answers)]
    for k, value in maj_at(reversed(rows)).items():
        votes = [same[text] for text in answers[: int(k)] if text is not None]
        most = max(Counter(votes).values(), default=0)
        winner = next((vote for vote in votes if votes.count(vote) == most), None)
        assert value == float(winner == 2)


@given(VERDICTS)
def test_accuracy_averages_over_problems(verdicts: list[list[bool]]) -> None:
    mean, interval, count = accuracy(_rows(verdicts))
    assert mean == pytest.approx(statistics.fmean(statistics.fmean(problem) for problem in verdicts))
    assert count == len(verdicts)
    assert interval is not None and mean is not None  # noqa: PT018
    assert interval[0] <= mean <= interval[1]
    # At least as wide as for independent samples, at most as wide as for one sample per problem.
    samples = sum(map(len, verdicts))
    assert interval[1] - interval[0] >= wilson(mean, samples)[1] - wilson(mean, samples)[0] - 1e-9
    assert interval[1] - interval[0] <= wilson(mean, count)[1] - wilson(mean, count)[0] + 1e-9


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_with_one_sample_per_problem_the_interval_is_wilsons(verdicts: list[bool]) -> None:
    _, interval, count = accuracy(_rows([[right] for right in verdicts]))
    assert interval == pytest.approx(wilson(sum(verdicts) / count, count))


def test_duplicate_samples_do_not_narrow_the_interval() -> None:
    once = accuracy(_rows([[True], [False], [True]]))
    copied = accuracy(_rows([[True] * 8, [False] * 8, [True] * 8]))
    assert copied[1] == pytest.approx(once[1])


def test_summary() -> None:
    rows = [
        row("a", True, busy_ms=1000.0),
        row("b", False, busy_ms=3000.0, stop="length"),
        row("c", None, busy_ms=8000.0),
        row("d", False, busy_ms=0.0, stop="error", answer=None),
    ]
    metrics = summary(rows)
    assert metrics["problems"] == metrics["samples"] == 4
    assert (metrics["correct"], metrics["graded"], metrics["errors"]) == (1, 3, 1)
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["ci95"] == pytest.approx(list(wilson(1 / 3, 3)))
    assert metrics["tokens"] == {"slm": 24, "llm": 8}
    assert metrics["llm_share"] == 0.25
    assert metrics["swaps"] == {"up": 8, "down": 4}
    assert metrics["catch_up_tokens"] == 8
    assert metrics["seconds_per_problem"] == {"mean": 3.0, "median": 2.0}
    assert metrics["tokens_per_second"] == pytest.approx(32 / 12)
    assert metrics["stops"] == {"eog": 2, "error": 1, "length": 1}


def test_summary_without_answers_and_without_gold_answers() -> None:
    empty = summary([])
    assert (empty["problems"], empty["accuracy"], empty["ci95"], empty["llm_share"]) == (0, None, None, None)
    assert summary([row("a", None)])["accuracy"] is None


def test_seconds_per_problem_is_the_sum_over_samples() -> None:
    rows = [row("a", True, sample=s, busy_ms=500.0) for s in range(4)]
    assert summary(rows)["seconds_per_problem"]["mean"] == 2.0
    assert summary(rows)["problems"] == 1
