from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.study.rank_tests import EXACT_UP_TO, area_under_roc, mann_whitney, mean_of, midranks

SMALL = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)


def test_ranks_with_ties() -> None:
    assert midranks([10.0, 20.0, 20.0, 5.0]).tolist() == [2.0, 3.5, 3.5, 1.0]
    assert midranks([]).tolist() == []


def test_without_ties_by_hand() -> None:
    # Of the 20 ways to choose 3 of 6 ranks, only {1,2,3} and {4,5,6} are as far apart.
    found = mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert found is not None
    assert (found.u, found.method) == (0.0, "exact")
    assert found.p == pytest.approx(2 / 20)
    # The tables of the test: n1 = n2 = 5, U = 2 is p = 0.032 two-sided.
    found = mann_whitney([1, 2, 3, 5, 6], [4, 7, 8, 9, 10])
    assert found is not None
    assert (found.u, round(found.p, 3)) == (2.0, 0.032)


@given(SMALL, SMALL)
def test_exact_is_what_all_permutations_say(first: list[float], second: list[float]) -> None:
    both = [*first, *second]
    n1 = len(first)

    def pairs_won(chosen: tuple[int, ...]) -> float:
        mine = [both[i] for i in chosen]
        others = [both[i] for i in range(len(both)) if i not in chosen]
        return sum((a > b) + (a == b) / 2 for a in mine for b in others)

    own = pairs_won(tuple(range(n1)))
    middle = n1 * len(second) / 2
    all_of_them = [pairs_won(chosen) for chosen in itertools.combinations(range(len(both)), n1)]
    expected = sum(abs(u - middle) >= abs(own - middle) - 1e-9 for u in all_of_them) / len(all_of_them)
    found = mann_whitney(first, second)
    assert found is not None
    assert found.u == pytest.approx(own)
    assert found.p == pytest.approx(expected)


def test_the_normal_approximation_corrects_for_ties() -> None:
    # 30 zeros and 20 ones against 20 zeros and 30 ones: ties of 50 and 50.
    found = mann_whitney([0.0] * 30 + [1.0] * 20, [0.0] * 20 + [1.0] * 30)
    assert found is not None
    assert found.method == "normal"
    assert found.u == 20 * 20 + (30 * 20 + 20 * 30) / 2
    variance = 50 * 50 / 12 * (101 - 2 * (50**3 - 50) / (100 * 99))
    z = (1250 - found.u - 0.5) / math.sqrt(variance)
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)))
    # Without the correction it would be about 0.087.
    assert found.p == pytest.approx(0.0466, abs=2e-3)


def test_both_ways_agree_where_they_meet() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=EXACT_UP_TO // 2), rng.normal(0.6, size=EXACT_UP_TO // 2)
    exact = mann_whitney(first.tolist(), second.tolist())
    # One more value, in the middle of all, tips it over to the approximation.
    middle = float(np.median([*first, *second]))
    normal = mann_whitney([*first.tolist(), middle], second.tolist())
    assert exact is not None
    assert normal is not None
    assert (exact.method, normal.method) == ("exact", "normal")
    assert exact.p == pytest.approx(normal.p, rel=0.2)


def test_nothing_to_compare() -> None:
    assert mann_whitney([], [1.0]) is None
    assert mann_whitney([1.0], []) is None
    assert mann_whitney([1.0] * 30, [1.0] * 30) == (450.0, 1.0, "normal")
    assert mann_whitney([1.0] * 3, [1.0] * 3) == (4.5, 1.0, "exact")


def test_area_by_hand() -> None:
    # Positives 3 and 1 against negatives 2, 1 and 0: 3 beats all, 1 beats one and ties one.
    found = area_under_roc([3, 1, 2, 1, 0], [1, 1, 0, 0, 0], range(5))
    assert found is not None
    assert found.area == pytest.approx((3 + 1.5) / 6)
    # DeLong: shares of positives 1 and 0.5, of negatives 0.5, 0.75 and 1.
    deviation = math.sqrt(np.var([1, 0.5], ddof=1) / 2 + np.var([0.5, 0.75, 1], ddof=1) / 3)
    half = 1.959963984540054 * deviation / (0.75 * 0.25)
    assert found.interval is not None
    assert found.interval == pytest.approx([1 / (1 + math.exp(-(math.log(3) + way * half))) for way in (-1, 1)])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_area_is_the_test_statistic(values: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*values, strict=True)
    positives = [float(s) for s, label in values if label]
    negatives = [float(s) for s, label in values if not label]
    found, test = area_under_roc(scores, labels, range(len(values))), mann_whitney(positives, negatives)
    if test is None:
        assert found is None
    else:
        assert found is not None
        assert found.area == pytest.approx(test.u / (len(positives) * len(negatives)))
        if found.interval is not None:
            assert 0 <= found.interval[0] <= found.area <= found.interval[1] <= 1


def test_copies_in_one_cluster_add_no_certainty() -> None:
    scores, labels = [3.0, 1.0, 2.0, 1.5, 0.0, 2.5], [True, True, False, False, False, True]
    alone = area_under_roc(scores, labels, range(6))
    copied = area_under_roc(scores * 5, labels * 5, [*range(6)] * 5)
    pretended = area_under_roc(scores * 5, labels * 5, range(30))
    assert alone is not None
    assert copied is not None
    assert pretended is not None
    assert alone.interval is not None
    assert pretended.interval is not None
    assert copied.interval == pytest.approx(alone.interval)
    assert pretended.interval[0] > alone.interval[0]


def test_clusters_with_both_labels_by_hand() -> None:
    # Positives 3 and 1 beat 2 and 1 of the negatives 0 and 2, which lie in the same two clusters.
    found = area_under_roc([3, 0, 1, 2], [True, False, True, False], [0, 0, 1, 1])
    assert found is not None
    assert found.area == 0.75
    # Deviations of 0.25 and -0.25 on both sides: variances 2 * 0.125 / 4 each, and twice the covariance, 4 * 0.125 / 4.
    half = 1.959963984540054 * math.sqrt(0.0625 + 0.0625 + 0.125) / (0.75 * 0.25)
    assert found.interval is not None
    assert found.interval[1] == pytest.approx(1 / (1 + math.exp(-math.log(3) - half)))


def test_perfect_or_single_has_no_interval() -> None:
    assert area_under_roc([1, 2, 3, 4], [False, False, True, True], range(4)) == (1.0, None)
    assert area_under_roc([1, 2, 3], [False, True, False], range(3)) == (0.5, None)


def test_means() -> None:
    assert mean_of([]) is None
    assert mean_of([2.0]) == (2.0, None)
    found = mean_of([0.0, 1.0] * 50)
    assert found is not None
    assert found.interval is not None
    # The standard error is 0.05.
    assert found.interval == pytest.approx((0.4, 0.6), abs=0.02)
    assert found == mean_of([0.0, 1.0] * 50)
