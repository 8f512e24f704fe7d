"""The statistics of a comparison: the interval of a ratio, paired tests, and which points no other beats.

Pure functions of numbers; knows nothing of routers, rows or files. The interval of one share is
`problems.metrics.wilson`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_CELLS_AT_ONCE = 2_000_000
Interval = tuple[float, float]


def total_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """The sum of the one over the sum of the other; None where there is nothing to divide by."""
    below = math.fsum(denominators)
    return math.fsum(numerators) / below if below > 0 else None


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """The 95 % interval of `total_ratio` by the paired percentile bootstrap: whole pairs are drawn again.

    Args:
        numerators: one number of at least 0 a problem.
        denominators: the same problems' other number.
        seed: of the draws.
        resamples: how many times all pairs are drawn anew.

    Returns:
        None for fewer than two pairs, which say nothing about how much problems differ, or when a sum is zero.
    """
    above = np.asarray(numerators, np.float64)
    below = np.asarray(denominators, np.float64)
    if above.shape != below.shape:
        raise ValueError(f"{above.size} numerators and {below.size} denominators")
    count = above.size
    if count < 2 or below.sum() <= 0:
        return None
    random = np.random.default_rng(seed)
    ratios: list[NDArray[np.float64]] = []
    left = resamples
    while left:
        rows = min(left, max(1, _CELLS_AT_ONCE // count))
        drawn = random.integers(count, size=(rows, count))
        sums = below[drawn].sum(axis=1)
        # A draw without any time in it has no ratio.
        ratios.append(above[drawn].sum(axis=1)[sums > 0] / sums[sums > 0])
        left -= rows
    low, high = np.quantile(np.concatenate(ratios), (0.025, 0.975))
    return float(low), float(high)


def mcnemar(better: int, worse: int) -> float:
    """McNemar's exact test, two-sided: the chance of so uneven a split of `better + worse` if both were as good.

    Twice the smaller tail of the binomial with p = 1/2, at most 1; 1 where the two never differ. The counts are
    those of the pairs on which exactly one of the two is right.
    """
    if better < 0 or worse < 0:
        raise ValueError(f"counts of {better} and {worse}")
    pairs = better + worse
    term = tail = 1
    for k in range(min(better, worse)):
        term = term * (pairs - k) // (k + 1)
        tail += term
    # Whole numbers to the end: 2.0 ** pairs overflows at a thousand of them.
    return min(1.0, 2 * tail / 2**pairs) if pairs else 1.0


def difference_interval(
    ours: Sequence[float], theirs: Sequence[float], our_interval: Interval, their_interval: Interval
) -> Interval | None:
    """The 95 % interval of mean(ours) - mean(theirs), both shares from 0 to 1 of the same problems.

    Newcombe's square-and-add (Statistics in Medicine 17, 1998, pairs without correction of phi): the intervals of
    both means put together with the correlation of the pairs. Unlike a bootstrap it has a width where all are
    right or all wrong.

    Args:
        ours: one share of right answers a problem.
        theirs: the other's share of the same problems.
        our_interval: the Wilson interval of the mean of `ours`.
        their_interval: that of `theirs`.

    Returns:
        None without problems.
    """
    if not ours:
        return None
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    first, second = float(a.mean()), float(b.mean())
    spread = float(a.std() * b.std())
    phi = float(((a - first) * (b - second)).mean()) / spread if spread > 0 else 0.0

    def distance(one: float, other: float) -> float:
        # The correlation may be a rounding error past 1, and the sum below 0.
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    (low, high), (their_low, their_high) = our_interval, their_interval
    return (
        max(-1.0, first - second - distance(first - low, their_high - second)),
        min(1.0, first - second + distance(high - first, second - their_low)),
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of the (cost, value) points no other beats, by place, from the cheapest to the dearest.

    A point is beaten by one that costs no more and is worth no less, and is better in one of the two; of points
    that are equal in both all stay.
    """

    def beaten(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)

    return sorted((place for place, point in enumerate(points) if not beaten(*point)), key=lambda p: points[p])
