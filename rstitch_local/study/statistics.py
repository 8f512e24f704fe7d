"""Intervals, paired tests, rank tests and the Pareto front for comparing routers and answers.

Pure functions of numbers, independent of routers, rows and files. `bench` and `tune` use this module, so it imports
numpy only; the rank test and ROC areas of `rstitch study` import scipy when they are called. The Wilson interval of
a share is `problems.metrics.wilson`, because `solve` prints it too; it is re-exported here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rstitch_local.problems.metrics import Z95
from rstitch_local.problems.metrics import wilson as wilson

RESAMPLES = 10_000
EXACT_UP_TO = 40
"""Largest total sample size for which `mann_whitney` computes the exact p-value."""
_MEAN_RESAMPLES = 2_000
_MAX_RESAMPLED_VALUES = 2_000_000

Interval = tuple[float, float]


class MannWhitney(NamedTuple):
    """Result of a two-sided Mann-Whitney test.

    u: number of pairs (one value of each sample) in which the first sample's value is larger; a tie counts 1/2.
    p: two-sided p-value.
    method: "exact" or "normal" (normal approximation).
    """

    u: float
    p: float
    method: str


class Area(NamedTuple):
    """Area under the ROC curve, 0 to 1 (0.5: no better than chance), and its 95 % interval, None if undefined."""

    area: float
    interval: Interval | None


class Mean(NamedTuple):
    """A mean and its 95 % interval; the interval is None for fewer than two values."""

    mean: float
    interval: Interval | None


def total_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Return sum(numerators) / sum(denominators), or None if the denominators sum to zero."""
    total = math.fsum(denominators)
    return math.fsum(numerators) / total if total > 0 else None


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the 95 % interval of `total_ratio` by the paired percentile bootstrap.

    Args:
        numerators: one number per problem.
        denominators: one number of at least 0 per problem, for the same problems.
        seed: seed of the resampling.
        resamples: number of bootstrap resamples; each draws whole pairs with replacement.

    Returns:
        None for fewer than two pairs or if the denominators sum to zero.
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
    remaining = resamples
    while remaining:
        # Resample in blocks to bound the memory.
        rows = min(remaining, max(1, _MAX_RESAMPLED_VALUES // count))
        indices = random.integers(count, size=(rows, count))
        sums = below[indices].sum(axis=1)
        # A resample whose denominators sum to zero has no ratio.
        ratios.append(above[indices].sum(axis=1)[sums > 0] / sums[sums > 0])
        remaining -= rows
    low, high = np.quantile(np.concatenate(ratios), (0.025, 0.975))
    return float(low), float(high)


def mean_with_interval(values: Sequence[float]) -> Mean | None:
    """Return the mean with its percentile bootstrap interval (2,000 resamples, fixed seed), or None for no values."""
    if not values:
        return None
    mean = float(np.mean(np.asarray(values, np.float64)))
    return Mean(mean, ratio_interval(values, [1.0] * len(values), resamples=_MEAN_RESAMPLES))


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, the sign test on discordant pairs.

    Twice the smaller binomial tail at p = 1/2, at most 1; 1 if there are no discordant pairs.

    Args:
        better: pairs in which only the first method is right.
        worse: pairs in which only the second method is right.
    """
    if better < 0 or worse < 0:
        raise ValueError(f"negative count: {better}, {worse}")
    pairs = better + worse
    term = tail = 1
    for k in range(min(better, worse)):
        term = term * (pairs - k) // (k + 1)
        tail += term
    # Integers throughout: 2.0**pairs overflows above 1023 pairs.
    return min(1.0, 2 * tail / 2**pairs) if pairs else 1.0


def difference_interval(
    first: Sequence[float], second: Sequence[float], first_interval: Interval, second_interval: Interval
) -> Interval | None:
    """Return the 95 % interval of mean(first) - mean(second) for paired shares between 0 and 1.

    Newcombe's square-and-add method for paired data without continuity correction of phi (Statistics in Medicine 17,
    1998). Unlike a bootstrap interval it has a width even if all values are 0 or all are 1.

    Args:
        first: one share of right answers per problem.
        second: the same for the other method, for the same problems.
        first_interval: Wilson interval of mean(first).
        second_interval: Wilson interval of mean(second).

    Returns:
        None for empty sequences.
    """
    if not first:
        return None
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    deviations = float(a.std() * b.std())
    phi = float(((a - mean_a) * (b - mean_b)).mean()) / deviations if deviations > 0 else 0.0

    def distance(x: float, y: float) -> float:
        # Rounding can push the correlation past 1 and the sum below 0.
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    (low_a, high_a), (low_b, high_b) = first_interval, second_interval
    return (
        max(-1.0, mean_a - mean_b - distance(mean_a - low_a, high_b - mean_b)),
        min(1.0, mean_a - mean_b + distance(high_a - mean_a, mean_b - low_b)),
    )


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> MannWhitney | None:
    """Run the two-sided Mann-Whitney test that neither sample tends to be larger; None if a sample is empty.

    The p-value is exact for up to `EXACT_UP_TO` values without ties. Otherwise it is the normal approximation with
    tie-corrected variance and continuity correction. Needs scipy (extra `study`).
    """
    from scipy.stats import mannwhitneyu

    if not len(first) or not len(second):
        return None
    values = [*first, *second]
    exact = len(values) <= EXACT_UP_TO and len(set(values)) == len(values)
    result = mannwhitneyu(first, second, method="exact" if exact else "asymptotic")
    return MannWhitney(float(result.statistic), float(result.pvalue), "exact" if exact else "normal")


def area_under_roc(scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike) -> Area | None:
    """Return the area under the ROC curve: the probability that a positive scores higher, a tie counting 1/2.

    The interval is Obuchowski's for clustered data (Biometrics 53, 1997), which equals DeLong's if every cluster has
    one value: tokens of one answer are not independent. It is computed on the logit scale, so it stays within (0, 1).
    Needs scipy (extra `study`).

    Args:
        scores: float, one per value.
        labels: bool, True for positives.
        clusters: cluster index of each value, integers from 0.

    Returns:
        None if all labels are equal.
    """
    from scipy.special import expit, logit
    from scipy.stats import rankdata

    score, label = np.asarray(scores, np.float64), np.asarray(labels, bool)
    cluster = np.asarray(clusters, np.int64)
    positives, negatives = int(label.sum()), int((~label).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(score)
    # For each positive the share of negatives below it, for each negative the share of positives above it.
    below = (ranks[label] - rankdata(score[label])) / negatives
    above = 1 - (ranks[~label] - rankdata(score[~label])) / positives
    area = float(below.mean())
    count = int(cluster.max()) + 1
    of_positives = np.bincount(cluster[label], below - area, count)
    of_negatives = np.bincount(cluster[~label], above - area, count)
    with_positives, with_negatives = len(np.unique(cluster[label])), len(np.unique(cluster[~label]))
    if with_positives < 2 or with_negatives < 2 or not 0 < area < 1:
        return Area(area, None)
    all_clusters = len(np.unique(cluster))
    variance = (
        with_positives / (with_positives - 1) * float((of_positives**2).sum()) / positives**2
        + with_negatives / (with_negatives - 1) * float((of_negatives**2).sum()) / negatives**2
        + 2 * all_clusters / (all_clusters - 1) * float((of_positives * of_negatives).sum()) / (positives * negatives)
    )
    if variance <= 0:
        return Area(area, None)
    half = Z95 * math.sqrt(variance) / (area * (1 - area))
    return Area(area, (float(expit(logit(area) - half)), float(expit(logit(area) + half))))


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, value) points on the Pareto front, sorted by cost.

    A point is dominated by one that has no higher cost and no lower value and is better in one of the two. Equal
    points do not dominate each other.
    """

    def dominated(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)

    return sorted((index for index, point in enumerate(points) if not dominated(*point)), key=lambda i: points[i])
