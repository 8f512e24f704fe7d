"""Mean entropy over windows of consecutive tokens: before a harmful token, and as a predictor (ROC areas)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.study.statistics import Area, Mean, area_under_roc, mean_with_interval

WINDOWS = range(1, 17)
"""Window lengths in tokens."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WindowEntropy:
    """Mean entropy (nats) of the tokens before the harmful token, and before other tokens of the same answers.

    window: number of tokens; 0 stands for the token itself.
    harmful, other: means over answers.
    difference: mean over answers of the difference within an answer.
    """

    window: int
    harmful: Mean | None
    other: Mean | None
    difference: Mean | None


def trailing_means(values: Floats, window: int) -> Floats:
    """Return for each position the mean over the last `window` values up to and including it, or over all before."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    means: Floats = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def window_entropy(window: int, answers: Sequence[tuple[Floats, int]]) -> WindowEntropy:
    """Compare the window before the harmful token with those before other tokens; window 0 is the token itself.

    Args:
        window: number of tokens.
        answers: (entropies in nats, position of the harmful token).
    """
    harmful, other = [], []
    for values, position in answers:
        # before[p] is the mean over the window that ends right before token p.
        before = values if window == 0 else np.concatenate([[np.nan], trailing_means(values, window)[:-1]])
        # The windows of the following tokens contain the harmful token, so they are no control.
        rest = np.delete(before, range(position, min(position + window + 1, len(values))))
        rest = rest[~np.isnan(rest)]
        if not math.isnan(before[position]) and len(rest):
            harmful.append(float(before[position]))
            other.append(float(rest.mean()))
    differences = [a - b for a, b in zip(harmful, other, strict=True)]
    return WindowEntropy(window, *(mean_with_interval(values) for values in (harmful, other, differences)))


def harm_area(
    window: int,
    rows: Sequence[Answer],
    nats: Mapping[str, Floats],
    positions: Mapping[str, int],
    *,
    disagreements_only: bool = False,
) -> Area | None:
    """Return the ROC area for harmful tokens against the tokens before them and all tokens of right answers.

    Tokens after a harmful token are excluded: a swap there comes too late. With `disagreements_only`, tokens that
    the LLM did not score are excluded too.
    """
    scores, labels, clusters = [], [], []
    for index, row in enumerate(rows):
        position = positions.get(row["id"])
        if position is None and row["correct"] is not True:
            continue
        values = trailing_means(nats[row["id"]], window)
        end = len(values) if position is None else position + 1
        agrees = row["agrees"]
        chosen = [i for i in range(end) if not disagreements_only or (i < len(agrees) and not agrees[i])]
        scores.append(values[chosen])
        labels.append(np.asarray(chosen) == (-1 if position is None else position))
        clusters.append(np.full(len(chosen), index))
    return area_under_roc(*(np.concatenate(parts) for parts in (scores, labels, clusters))) if scores else None


def disagreement_area(window: int, scored: Sequence[tuple[Answer, Floats]]) -> Area | None:
    """Return the ROC area for tokens the LLM disagrees with, from (row, entropies of the scored tokens)."""
    parts = [(values, row) for row, values in scored if len(values)]
    if not parts:
        return None
    scores = np.concatenate([trailing_means(values, window) for values, _ in parts])
    labels = ~np.concatenate([np.asarray(row["agrees"], bool) for _, row in parts])
    clusters = np.concatenate([np.full(len(values), index) for index, (values, _) in enumerate(parts)])
    return area_under_roc(scores, labels, clusters)
