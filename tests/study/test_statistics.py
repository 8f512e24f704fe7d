from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.problems.metrics import wilson
from rstitch_local.study.statistics import difference_interval, mcnemar, pareto, ratio_interval, total_ratio

COUNTS = st.integers(0, 60)


def test_mcnemar_by_counting_all_splits() -> None:
    for better, worse in product(range(6), repeat=2):
        pairs = better + worse
        # Every pair is a fair coin; how often is the split at least as uneven as this one?
        uneven = sum(1 for coins in product((0, 1), repeat=pairs) if abs(2 * sum(coins) - pairs) >= abs(better - worse))
        assert mcnemar(better, worse) == pytest.approx(uneven / 2**pairs)


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_same_from_both_sides(better: int, worse: int) -> None:
    p = mcnemar(better, worse)
    assert p == mcnemar(worse, better)
    assert 0 < p <= 1
    if better == worse:
        assert p == 1


def test_mcnemar_of_many_pairs_is_no_overflow() -> None:
    assert mcnemar(2000, 0) == pytest.approx(0, abs=1e-300)
    assert mcnemar(1030, 970) == pytest.approx(math.erfc(59 / math.sqrt(2000) / math.sqrt(2)), rel=0.01)
    with pytest.raises(ValueError, match="-1"):
        mcnemar(-1, 2)


def test_a_constant_ratio_has_no_width() -> None:
    low, high = ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) or (0, 0)
    assert low == pytest.approx(2)
    assert high == pytest.approx(2)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        length = random.gamma(2, 50, size=40)
        # Lengths differ much and are shared, as problems are; the ratio of the totals is 1.5 in the long run.
        interval = ratio_interval(
            list(1.5 * length * random.uniform(0.8, 1.2, 40)), list(length), seed=seed, resamples=400
        )
        assert interval is not None
        hits += interval[0] <= 1.5 <= interval[1]
    assert 176 <= hits <= 198


def test_the_bootstrap_is_its_seeds_and_holds_pairs_together() -> None:
    above, below = [3.0, 10.0, 100.0, 7.0], [1.0, 5.0, 60.0, 2.0]
    first = ratio_interval(above, below, seed=3)
    assert first == ratio_interval(above, below, seed=3)
    few = [ratio_interval(above, below, seed=seed, resamples=20) for seed in range(8)]
    assert len(set(few)) > 1
    low, high = first or (0, 0)
    # No draw of whole pairs has a ratio beyond those of the pairs.
    assert 100 / 60 <= low < (total_ratio(above, below) or 0) < high <= 3.5


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0]), ([1.0, 2.0], [0.0, 0.0])])
def test_what_has_no_interval(above: list[float], below: list[float]) -> None:
    assert ratio_interval(above, below) is None


def test_draws_without_time_are_no_infinities() -> None:
    low, high = ratio_interval([0.0, 1.0], [0.0, 1.0]) or (0, 0)
    assert (low, high) == (1, 1)
    assert total_ratio([1.0], [0.0]) is None
    with pytest.raises(ValueError, match="2 numerators and 1"):
        ratio_interval([1.0, 2.0], [1.0])


def test_an_interval_of_many_problems_is_drawn_in_parts() -> None:
    random = np.random.default_rng(0)
    times = random.uniform(1, 2, 5_000)
    low, high = ratio_interval(list(times), [1.5] * 5_000, resamples=1_000) or (0, 0)
    assert low < times.mean() / 1.5 < high
    assert high - low < 0.02


def test_the_interval_of_a_difference_by_newcombe() -> None:
    # Pairs without any correlation, of means 0.8 and 0.6: then it is his interval for unpaired shares, whose
    # example 56/70 - 48/80 has the limits 0.0524 and 0.3339 (Statistics in Medicine 17, 873, method 10).
    ours = [1.0] * 12 + [1.0] * 8 + [0.0] * 3 + [0.0] * 2
    theirs = [1.0] * 12 + [0.0] * 8 + [1.0] * 3 + [0.0] * 2
    interval = difference_interval(ours, theirs, wilson(56 / 70, 70), wilson(48 / 80, 80))
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Pairs that go together say more.
    together = [1.0] * 20 + [0.0] * 5, [1.0] * 15 + [0.0] * 10
    low, high = difference_interval(*together, wilson(0.8, 25), wilson(0.6, 25)) or (0, 0)
    apart = difference_interval(ours, theirs, wilson(0.8, 25), wilson(0.6, 25)) or (0, 0)
    assert apart[0] < low < 0.2 < high < apart[1]


def test_two_that_are_right_on_the_same_problems_differ_by_little() -> None:
    # With a correlation of 1 the two distances are subtracted from each other.
    verdicts = [1.0] * 9 + [0.0]
    low, high = wilson(0.9, 10)
    distance = abs((0.9 - low) - (high - 0.9))
    assert difference_interval(verdicts, verdicts, (low, high), (low, high)) == pytest.approx((-distance, distance))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_an_interval_of_a_difference_holds_it_and_mirrors(pairs: list[tuple[bool, bool]]) -> None:
    ours, theirs = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    count = len(pairs)
    first, second = sum(ours) / count, sum(theirs) / count
    ends = difference_interval(ours, theirs, wilson(first, count), wilson(second, count))
    mirrored = difference_interval(theirs, ours, wilson(second, count), wilson(first, count))
    assert ends is not None
    assert mirrored is not None
    assert -1 <= ends[0] <= first - second + 1e-12
    assert first - second - 1e-12 <= ends[1] <= 1
    assert mirrored == pytest.approx((-ends[1], -ends[0]))


def test_all_right_is_not_certain() -> None:
    low, high = difference_interval([1.0] * 10, [1.0] * 10, wilson(1, 10), wilson(1, 10)) or (0, 0)
    assert low < -0.2
    assert high > 0.2
    assert difference_interval([], [], (0, 1), (0, 1)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    assert [points[place] for place in front] == sorted(points[place] for place in front)
    for place, (cost, value) in enumerate(points):
        beaten = any(c <= cost and v >= value and (c < cost or v > value) for c, v in points)
        assert (place in front) is not beaten
