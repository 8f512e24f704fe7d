"""Two samples compared by ranks, and means with their intervals.

Knows lists of numbers and nothing of what they measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 40
"""Values in both samples together up to which the p-value is exact."""
_Z95 = 1.959963984540054
_RESAMPLES = 2000

Floats = NDArray[np.float64]
Interval = tuple[float, float]


class MannWhitney(NamedTuple):
    """Whether one sample tends to be larger than the other.

    u: pairs of one value of each sample in which the first is larger; a tie counts one half.
    p: two-sided.
    method: exact (every way of dealing out the ranks) or normal.
    """

    u: float
    p: float
    method: str


class Area(NamedTuple):
    """Area under the ROC curve, 0 to 1 (0.5: no use), and its 95 % interval; None where there are too few."""

    area: float
    interval: Interval | None


class Mean(NamedTuple):
    """A mean and its 95 % interval; None where there are fewer than two values."""

    mean: float
    interval: Interval | None


def midranks(values: ArrayLike) -> Floats:
    """Ranks from 1, float64 of the same length; values that are equal share the mean of their ranks."""
    array = np.asarray(values, np.float64)
    _, place, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> MannWhitney | None:
    """Mann and Whitney's test (1947) that neither sample tends to be larger, two-sided; None where one is empty.

    Up to `EXACT_UP_TO` values the p-value is the share of all ways to deal the ranks out, ties as they are, whose
    sum is at least as far from its mean. Above that it is the normal approximation with the variance corrected for
    ties, n1 n2 / 12 * (n + 1 - sum(t^3 - t) / (n (n - 1))), and half a step for continuity.
    """
    n1, n2 = len(first), len(second)
    if not n1 or not n2:
        return None
    ranks = midranks([*first, *second])
    u = float(ranks[:n1].sum()) - n1 * (n1 + 1) / 2
    if n1 + n2 <= EXACT_UP_TO:
        return MannWhitney(u, _exact_p(ranks, n1), "exact")
    n = n1 + n2
    _, ties = np.unique(ranks, return_counts=True)
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (n * (n - 1))
    variance = n1 * n2 / 12 * (n + 1 - tied)
    if variance <= 0:
        return MannWhitney(u, 1.0, "normal")
    distance = max(0.0, abs(u - n1 * n2 / 2) - 0.5)
    return MannWhitney(u, math.erfc(distance / math.sqrt(2 * variance)), "normal")


def _exact_p(ranks: Floats, n1: int) -> float:
    """Share of the subsets of `n1` ranks whose sum is as far from the mean as that of the first `n1`."""
    # Doubled, midranks are whole numbers, and the sums can be counted.
    doubled = [round(2 * rank) for rank in ranks]
    # ways[k, s]: subsets of k ranks with the sum s; below 2^53 for as many values as come here, so exact.
    ways = np.zeros((n1 + 1, sum(doubled) + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    sums = np.arange(ways.shape[1])
    # Times n, so that the mean is a whole number as well.
    n = len(doubled)
    far = np.abs(n * sums - n1 * sum(doubled)) >= abs(n * sum(doubled[:n1]) - n1 * sum(doubled))
    return float(ways[n1, far].sum() / ways[n1].sum())


def area_under_roc(scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> Area | None:
    """How well a score tells the labelled from the others: the chance that it is higher, a tie counting one half.

    The interval is Obuchowski's (Biometrics 53, 1997), which is DeLong's where every cluster has one value: values
    of one cluster (tokens of one answer) are not independent. It is computed for the logit, so it stays within
    (0, 1).

    Args:
        scores: float, one each.
        labels: bool, what the score shall find.
        clusters: whole numbers from 0, which values belong together.

    Returns:
        None where all labels are the same.
    """
    score, label = np.asarray(scores, np.float64), np.asarray(labels, bool)
    cluster = np.asarray(clusters, np.int64)
    positives, negatives = int(label.sum()), int((~label).sum())
    if not positives or not negatives:
        return None
    ranks = midranks(score)
    # Of each positive the share of negatives below it, of each negative the share of positives above it.
    below = (ranks[label] - midranks(score[label])) / negatives
    above = 1 - (ranks[~label] - midranks(score[~label])) / positives
    area = float(below.mean())
    count = int(cluster.max()) + 1
    of_positives = np.bincount(cluster[label], below - area, count)
    of_negatives = np.bincount(cluster[~label], above - area, count)
    with_positives, with_negatives = len(np.unique(cluster[label])), len(np.unique(cluster[~label]))
    if with_positives < 2 or with_negatives < 2 or not 0 < area < 1:
        return Area(area, None)
    both = len(np.unique(cluster))
    variance = (
        with_positives / (with_positives - 1) * float((of_positives**2).sum()) / positives**2
        + with_negatives / (with_negatives - 1) * float((of_negatives**2).sum()) / negatives**2
        + 2 * both / (both - 1) * float((of_positives * of_negatives).sum()) / (positives * negatives)
    )
    if variance <= 0:
        return Area(area, None)
    half = _Z95 * math.sqrt(variance) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return Area(area, (_logistic(centre - half), _logistic(centre + half)))


def _logistic(x: float) -> float:
    # Both forms, so that neither overflows.
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean with its percentile bootstrap interval (2,000 resamples, always the same); None for no values."""
    if not values:
        return None
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Mean(mean, None)
    rng = np.random.default_rng(0)
    means = array[rng.integers(0, len(array), (_RESAMPLES, len(array)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Mean(mean, (float(low), float(high)))
