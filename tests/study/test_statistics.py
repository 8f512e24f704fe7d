from __future__ import annotations

import itertools
import math
import subprocess
import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.statistics import (
    EXACT_UP_TO,
    area_under_roc,
    difference_interval,
    mann_whitney,
    mcnemar,
    mean_with_interval,
    pareto,
    ratio_interval,
    total_ratio,
    wilson,
)

COUNTS = st.integers(0, 60)
SMALL = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)
needs_scipy = pytest.mark.skipif(find_spec("scipy") is None, reason="needs scipy: install '.[study]'")


def test_mcnemar_equals_counting_all_splits() -> None:
    for better, worse in product(range(6), repeat=2):
        pairs = better + worse
        # Under the null hypothesis every pair is a fair coin.
        uneven = sum(1 for coins in product((0, 1), repeat=pairs) if abs(2 * sum(coins) - pairs) >= abs(better - worse))
        assert mcnemar(better, worse) == pytest.approx(uneven / 2**pairs)


@given(COUNTS, COUNTS)
def test_mcnemar_is_symmetric(better: int, worse: int) -> None:
    p = mcnemar(better, worse)
    assert p == mcnemar(worse, better)
    assert 0 < p <= 1
    if better == worse:
        assert p == 1


def test_mcnemar_of_many_pairs_does_not_overflow() -> None:
    assert mcnemar(2000, 0) == pytest.approx(0, abs=1e-300)
    assert mcnemar(1030, 970) == pytest.approx(math.erfc(59 / math.sqrt(2000) / math.sqrt(2)), rel=0.01)
    with pytest.raises(ValueError, match="-1"):
        mcnemar(-1, 2)


def test_the_interval_of_a_constant_ratio_has_no_width() -> None:
    low, high = ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) or (0, 0)
    assert low == pytest.approx(2)
    assert high == pytest.approx(2)


def test_the_bootstrap_interval_has_its_nominal_coverage() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        length = random.gamma(2, 50, size=40)
        # Lengths vary a lot and are shared by both, as for real problems; the true ratio of the totals is 1.5.
        interval = ratio_interval(
            list(1.5 * length * random.uniform(0.8, 1.2, 40)), list(length), seed=seed, resamples=400
        )
        assert interval is not None
        hits += interval[0] <= 1.5 <= interval[1]
    assert 176 <= hits <= 198


def test_the_bootstrap_depends_on_its_seed_and_resamples_whole_pairs() -> None:
    above, below = [3.0, 10.0, 100.0, 7.0], [1.0, 5.0, 60.0, 2.0]
    first = ratio_interval(above, below, seed=3)
    assert first == ratio_interval(above, below, seed=3)
    few = [ratio_interval(above, below, seed=seed, resamples=20) for seed in range(8)]
    assert len(set(few)) > 1
    low, high = first or (0, 0)
    # The ratio of a resample of whole pairs lies between the smallest and the largest ratio of a pair.
    assert 100 / 60 <= low < (total_ratio(above, below) or 0) < high <= 3.5


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0]), ([1.0, 2.0], [0.0, 0.0])])
def test_too_few_pairs_have_no_interval(above: list[float], below: list[float]) -> None:
    assert ratio_interval(above, below) is None


def test_resamples_with_a_zero_denominator_are_left_out() -> None:
    low, high = ratio_interval([0.0, 1.0], [0.0, 1.0]) or (0, 0)
    assert (low, high) == (1, 1)
    assert total_ratio([1.0], [0.0]) is None
    with pytest.raises(ValueError, match="2 numerators and 1"):
        ratio_interval([1.0, 2.0], [1.0])


def test_many_problems_are_resampled_in_blocks() -> None:
    random = np.random.default_rng(0)
    times = random.uniform(1, 2, 5_000)
    low, high = ratio_interval(list(times), [1.5] * 5_000, resamples=1_000) or (0, 0)
    assert low < times.mean() / 1.5 < high
    assert high - low < 0.02


def test_newcombes_published_example() -> None:
    # Uncorrelated pairs with means 0.8 and 0.6: the interval equals that for unpaired shares, whose example
    # 56/70 - 48/80 has the limits 0.0524 and 0.3339 (Statistics in Medicine 17, 873, method 10).
    first = [1.0] * 12 + [1.0] * 8 + [0.0] * 3 + [0.0] * 2
    second = [1.0] * 12 + [0.0] * 8 + [1.0] * 3 + [0.0] * 2
    interval = difference_interval(first, second, wilson(56 / 70, 70), wilson(48 / 80, 80))
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Correlated pairs give a narrower interval.
    correlated = [1.0] * 20 + [0.0] * 5, [1.0] * 15 + [0.0] * 10
    low, high = difference_interval(*correlated, wilson(0.8, 25), wilson(0.6, 25)) or (0, 0)
    uncorrelated = difference_interval(first, second, wilson(0.8, 25), wilson(0.6, 25)) or (0, 0)
    assert uncorrelated[0] < low < 0.2 < high < uncorrelated[1]


def test_the_interval_of_identical_verdicts_is_narrow() -> None:
    # At a correlation of 1 the two distances are subtracted.
    verdicts = [1.0] * 9 + [0.0]
    low, high = wilson(0.9, 10)
    distance = abs((0.9 - low) - (high - 0.9))
    assert difference_interval(verdicts, verdicts, (low, high), (low, high)) == pytest.approx((-distance, distance))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_interval_of_a_difference_contains_it_and_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    count = len(pairs)
    mean_first, mean_second = sum(first) / count, sum(second) / count
    ends = difference_interval(first, second, wilson(mean_first, count), wilson(mean_second, count))
    mirrored = difference_interval(second, first, wilson(mean_second, count), wilson(mean_first, count))
    assert ends is not None
    assert mirrored is not None
    assert -1 <= ends[0] <= mean_first - mean_second + 1e-12
    assert mean_first - mean_second - 1e-12 <= ends[1] <= 1
    assert mirrored == pytest.approx((-ends[1], -ends[0]))


def test_the_interval_has_a_width_if_all_answers_are_right() -> None:
    low, high = difference_interval([1.0] * 10, [1.0] * 10, wilson(1, 10), wilson(1, 10)) or (0, 0)
    assert low < -0.2
    assert high > 0.2
    assert difference_interval([], [], (0, 1), (0, 1)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_pareto_front_is_the_set_of_points_that_no_point_dominates(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    assert [points[place] for place in front] == sorted(points[place] for place in front)
    for place, (cost, value) in enumerate(points):
        dominated = any(c <= cost and v >= value and (c < cost or v > value) for c, v in points)
        assert (place in front) is not dominated


@needs_scipy
def test_mann_whitney_without_ties_by_hand() -> None:
    # Of the 20 ways to choose 3 of 6 ranks, only {1,2,3} and {4,5,6} are as far apart.
    result = mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert result is not None
    assert (result.u, result.method) == (0.0, "exact")
    assert result.p == pytest.approx(2 / 20)
    # Published tables of the test: n1 = n2 = 5, U = 2 is p = 0.032 two-sided.
    result = mann_whitney([1, 2, 3, 5, 6], [4, 7, 8, 9, 10])
    assert result is not None
    assert (result.u, round(result.p, 3)) == (2.0, 0.032)


@needs_scipy
@given(SMALL, SMALL)
def test_the_exact_p_value_equals_counting_all_permutations(first: list[float], second: list[float]) -> None:
    values = [*first, *second]
    n1 = len(first)

    def pairs_won(chosen: tuple[int, ...]) -> float:
        others = [values[i] for i in range(len(values)) if i not in chosen]
        return sum((values[i] > b) + (values[i] == b) / 2 for i in chosen for b in others)

    observed = pairs_won(tuple(range(n1)))
    middle = n1 * len(second) / 2
    permutations = [pairs_won(chosen) for chosen in itertools.combinations(range(len(values)), n1)]
    expected = sum(abs(u - middle) >= abs(observed - middle) - 1e-9 for u in permutations) / len(permutations)
    result = mann_whitney(first, second)
    assert result is not None
    assert result.u == pytest.approx(observed)
    if len(set(values)) == len(values):
        assert result.method == "exact"
        assert result.p == pytest.approx(expected)
    else:
        assert result.method == "normal"


@needs_scipy
def test_the_normal_approximation_corrects_for_ties() -> None:
    # 30 zeros and 20 ones against 20 zeros and 30 ones: ties of 50 and 50.
    result = mann_whitney([0.0] * 30 + [1.0] * 20, [0.0] * 20 + [1.0] * 30)
    assert result is not None
    assert result.method == "normal"
    assert result.u == 20 * 20 + (30 * 20 + 20 * 30) / 2
    variance = 50 * 50 / 12 * (101 - 2 * (50**3 - 50) / (100 * 99))
    z = (1250 - result.u - 0.5) / math.sqrt(variance)
    assert result.p == pytest.approx(math.erfc(z / math.sqrt(2)))
    # Without the correction it would be about 0.087.
    assert result.p == pytest.approx(0.0466, abs=2e-3)


@needs_scipy
def test_exact_and_normal_p_values_agree_at_the_size_where_the_method_changes() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=EXACT_UP_TO // 2), rng.normal(0.6, size=EXACT_UP_TO // 2)
    exact = mann_whitney(first.tolist(), second.tolist())
    # One more value, in the middle of all, exceeds the size.
    median = float(np.median([*first, *second]))
    normal = mann_whitney([*first.tolist(), median], second.tolist())
    assert exact is not None
    assert normal is not None
    assert (exact.method, normal.method) == ("exact", "normal")
    assert exact.p == pytest.approx(normal.p, rel=0.2)


@needs_scipy
def test_mann_whitney_of_empty_and_constant_samples() -> None:
    assert mann_whitney([], [1.0]) is None
    assert mann_whitney([1.0], []) is None
    assert mann_whitney([1.0] * 30, [1.0] * 30) == (450.0, 1.0, "normal")
    assert mann_whitney([1.0] * 3, [1.0] * 3) == (4.5, 1.0, "normal")


@needs_scipy
def test_the_roc_area_by_hand() -> None:
    # Positives 3 and 1 against negatives 2, 1 and 0: 3 beats all, 1 beats one and ties one.
    result = area_under_roc([3, 1, 2, 1, 0], [1, 1, 0, 0, 0], range(5))
    assert result is not None
    assert result.area == pytest.approx((3 + 1.5) / 6)
    # DeLong: shares of positives 1 and 0.5, of negatives 0.5, 0.75 and 1.
    deviation = math.sqrt(np.var([1, 0.5], ddof=1) / 2 + np.var([0.5, 0.75, 1], ddof=1) / 3)
    half = 1.959963984540054 * deviation / (0.75 * 0.25)
    assert result.interval is not None
    assert result.interval == pytest.approx([1 / (1 + math.exp(-(math.log(3) + sign * half))) for sign in (-1, 1)])


@needs_scipy
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_the_roc_area_is_the_mann_whitney_statistic(values: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*values, strict=True)
    positives = [float(s) for s, label in values if label]
    negatives = [float(s) for s, label in values if not label]
    result, test = area_under_roc(scores, labels, range(len(values))), mann_whitney(positives, negatives)
    if test is None:
        assert result is None
    else:
        assert result is not None
        assert result.area == pytest.approx(test.u / (len(positives) * len(negatives)))
        if result.interval is not None:
            assert 0 <= result.interval[0] <= result.area <= result.interval[1] <= 1


@needs_scipy
def test_copies_within_a_cluster_do_not_narrow_the_interval() -> None:
    scores, labels = [3.0, 1.0, 2.0, 1.5, 0.0, 2.5], [True, True, False, False, False, True]
    single = area_under_roc(scores, labels, range(6))
    copied = area_under_roc(scores * 5, labels * 5, [*range(6)] * 5)
    independent = area_under_roc(scores * 5, labels * 5, range(30))
    assert single is not None
    assert copied is not None
    assert independent is not None
    assert single.interval is not None
    assert independent.interval is not None
    assert copied.interval == pytest.approx(single.interval)
    assert independent.interval[0] > single.interval[0]


@needs_scipy
def test_clusters_with_both_labels_by_hand() -> None:
    # Positives 3 and 1 against the negatives 0 and 2 of the same two clusters: 3 of 4 pairs are won.
    result = area_under_roc([3, 0, 1, 2], [True, False, True, False], [0, 0, 1, 1])
    assert result is not None
    assert result.area == 0.75
    # Deviations of 0.25 and -0.25 on both sides: variances 2 * 0.125 / 4 each, and twice the covariance, 4 * 0.125 / 4.
    half = 1.959963984540054 * math.sqrt(0.0625 + 0.0625 + 0.125) / (0.75 * 0.25)
    assert result.interval is not None
    assert result.interval[1] == pytest.approx(1 / (1 + math.exp(-math.log(3) - half)))


@needs_scipy
def test_a_perfect_area_and_a_single_positive_have_no_interval() -> None:
    assert area_under_roc([1, 2, 3, 4], [False, False, True, True], range(4)) == (1.0, None)
    assert area_under_roc([1, 2, 3], [False, True, False], range(3)) == (0.5, None)


def test_means_with_intervals() -> None:
    assert mean_with_interval([]) is None
    assert mean_with_interval([2.0]) == (2.0, None)
    result = mean_with_interval([0.0, 1.0] * 50)
    assert result is not None
    assert result.interval is not None
    # The standard error is 0.05.
    assert result.interval == pytest.approx((0.4, 0.6), abs=0.02)
    assert result == mean_with_interval([0.0, 1.0] * 50)


@needs_scipy
def test_results_equal_those_of_the_first_release() -> None:
    """Compare with values computed by the hand-written tests of version 0.1, which published reports use."""
    first = [k * k % 17 / 7 + k / 50 for k in range(18)]
    second = [(k * k * k) % 19 / 8 + k / 61 + 0.001 for k in range(15)]
    exact = mann_whitney(first, second)
    assert exact is not None
    assert (exact.u, exact.method) == (147.0, "exact")
    assert exact.p == pytest.approx(0.6815886064530631, abs=1e-9)
    tied = [round(x, 1) for x in first + second]
    normal = mann_whitney(tied, [round(x * 1.2, 1) for x in first + second])
    assert normal is not None
    assert (normal.u, normal.method) == (462.0, "normal")
    assert normal.p == pytest.approx(0.29242045157458474, abs=1e-9)
    area = area_under_roc(first + second, [1] * 18 + [0] * 15, [k % 7 for k in range(33)])
    assert area is not None
    assert area.area == pytest.approx(0.5444444444444445, abs=1e-9)
    assert area.interval == pytest.approx((0.3768943437148738, 0.702503446500398), abs=1e-9)
    mean = mean_with_interval(first)
    assert mean is not None
    assert mean.mean == pytest.approx(1.2493650793650792, abs=1e-9)
    assert mean.interval == pytest.approx((0.8602261904761905, 1.6159722222222217), abs=1e-9)


def test_bench_and_tune_do_not_import_scipy() -> None:
    script = (
        "import sys; sys.modules['scipy'] = sys.modules['matplotlib'] = None\n"
        "import rstitch_local.study.bench_report, rstitch_local.study.tuning_report\n"
        "from rstitch_local.study import statistics\n"
        "assert statistics.mcnemar(3, 1) == 0.625 and statistics.ratio_interval([1, 2], [2, 1]) is not None"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)
