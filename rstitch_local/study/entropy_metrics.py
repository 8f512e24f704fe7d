"""The paper's figure 3 on any pair, in numbers: how unsure the SLM is, of what, and what that says of its mistakes.

Knows the answers of a study and the harmful tokens found in them; no models, and nothing of words or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.problems.run_folder import Answer
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import Probe
from rstitch_local.study.statistics import (
    Area,
    MannWhitney,
    Mean,
    area_under_roc,
    mann_whitney,
    mean_with_interval,
    wilson,
)

WINDOWS = range(1, 17)
SURE_NATS = 0.1
"""Where the paper cuts its histogram."""
TAUS = (0.001, 0.005, 0.02, 0.03, 0.05, 0.1)
SMALLEST_NATS = 1e-6
"""Lower end of the entropy axis; tokens below it are counted in the lowest bin."""
_BINS_PER_DECADE = 6
_SHOWN_TEXT = 40

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean entropies (nats) of right and wrong answers, and the test between them; area is P(wrong > right)."""

    right: list[float]
    wrong: list[float]
    test: MannWhitney | None
    area: Area | None


@dataclass(frozen=True, slots=True)
class WindowEntropy:
    """Entropy (nats) over the tokens before the harmful one, and before other places of the same answers.

    harmful, other: means over answers; difference: of the two within an answer.
    """

    window: int
    harmful: Mean | None
    other: Mean | None
    difference: Mean | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a router at this tau would do to the SLM's own answers.

    asked: share of tokens above tau; disagreements, harmful: share of those that are above it; None without any.
    """

    tau: float
    nats: float
    asked: float
    disagreements: float | None
    harmful: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Tokens of similar entropy: from `low` to `high` nats, how many, and at how many the LLM disagrees.

    read: how many of them the LLM has read.
    """

    low: float
    high: float
    tokens: int
    read: int
    disagreed: int

    @property
    def disagreement(self) -> tuple[float, tuple[float, float]] | None:
        """Share of disagreements with its Wilson interval; None where the LLM has read none."""
        share = self.disagreed / self.read if self.read else 0.0
        return (share, wilson(share, self.read)) if self.read else None


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is drawn and written; entropies are in nats, times `1 / log_vocabulary` normalised."""

    log_vocabulary: float
    tau: float
    answers: dict[str, int]
    tokens: int
    mean_nats: float | None
    quartiles_nats: tuple[float, float, float] | None
    sure_share: float | None
    agreement: float | None
    bins: list[Bin]
    compared: Comparison
    compared_uncut: Comparison | None
    outcomes: dict[str, int]
    continuations: tuple[int, int]
    own: WindowEntropy
    windows: list[WindowEntropy]
    harm_areas: list[Area | None]
    harm_among_disagreements: Area | None
    disagreement_areas: list[Area | None]
    thresholds: list[Threshold]
    probes: dict[str, tuple[int, int]]
    harmful: list[dict[str, Any]] = field(default_factory=list)


def figures_of(run: StudyRun) -> Figures:
    """Everything that follows from a run; no models needed."""
    rows = [row for row in run.rows if row["stop"] != "error" and row["entropies"]]
    nats = {row["id"]: np.asarray(row["entropies"]) * run.log_vocabulary for row in rows}
    positions = {name: harm.position for name, harm in run.harms.items() if harm.position is not None}
    every = np.concatenate([*nats.values(), np.empty(0)])
    read = [(row, nats[row["id"]][: len(row["agrees"])]) for row in rows]
    read_nats = np.concatenate([values for _, values in read] + [np.empty(0)])
    disagrees = ~np.concatenate([np.asarray(row["agrees"], bool) for row, _ in read] + [np.empty(0, bool)])
    found = [(nats[name], position) for name, position in positions.items()]
    return Figures(
        log_vocabulary=run.log_vocabulary,
        tau=run.tau,
        answers=_counts(run.rows),
        tokens=len(every),
        mean_nats=float(every.mean()) if len(every) else None,
        quartiles_nats=tuple(float(q) for q in np.quantile(every, (0.25, 0.5, 0.75))) if len(every) else None,  # type: ignore[arg-type]
        sure_share=float((every <= SURE_NATS).mean()) if len(every) else None,
        agreement=float((~disagrees).mean()) if len(disagrees) else None,
        bins=_bins(every, read_nats, disagrees, run.log_vocabulary),
        compared=_comparison(rows, nats),
        compared_uncut=_comparison([row for row in rows if row["stop"] == "eog"], nats)
        if any(row["stop"] != "eog" for row in rows)
        else None,
        outcomes=_outcomes(run),
        continuations=run.continuations,
        own=_window(0, found),
        windows=[_window(window, found) for window in WINDOWS],
        harm_areas=[_harm_area(window, rows, nats, positions) for window in WINDOWS],
        harm_among_disagreements=_harm_area(1, rows, nats, positions, disagreements_only=True),
        disagreement_areas=[_disagreement_area(window, read) for window in WINDOWS],
        thresholds=[
            _threshold(tau, tau * run.log_vocabulary, every, read_nats, disagrees, found)
            for tau in sorted({*TAUS, run.tau})
        ],
        probes=_probe_counts(run.probed),
        harmful=[_harmful_row(row, positions[row["id"]], run.log_vocabulary) for row in rows if row["id"] in positions],
    )


def trailing_means(values: Floats, window: int) -> Floats:
    """Means over the last `window` values up to and including each, over as many as there are at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    means: Floats = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _counts(rows: Sequence[Answer]) -> dict[str, int]:
    errors = sum(row["stop"] == "error" for row in rows)
    rest = [row for row in rows if row["stop"] != "error"]
    return {
        "problems": len(rows),
        "right": sum(row["correct"] is True for row in rest),
        "wrong": sum(row["correct"] is False for row in rest),
        "ungraded": sum(row["correct"] is None for row in rest),
        "cut_off": sum(row["stop"] == "length" for row in rest),
        "errors": errors,
    }


def _bins(every: Floats, read: Floats, disagrees: NDArray[np.bool_], log_vocabulary: float) -> list[Bin]:
    """Equal steps of the logarithm from `SMALLEST_NATS` to the largest entropy there can be."""
    decades = math.log10(log_vocabulary / SMALLEST_NATS)
    edges = np.logspace(math.log10(SMALLEST_NATS), math.log10(log_vocabulary), round(_BINS_PER_DECADE * decades) + 1)

    def count(values: Floats) -> NDArray[np.int64]:
        return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]

    counts = zip(count(every), count(read), count(read[disagrees]), strict=True)
    return [
        Bin(float(low), float(high), *(int(number) for number in numbers))
        for low, high, numbers in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _comparison(rows: Sequence[Answer], nats: Mapping[str, Floats]) -> Comparison:
    right, wrong = ([float(nats[r["id"]].mean()) for r in rows if r["correct"] is verdict] for verdict in (True, False))
    labels = [*([True] * len(wrong)), *([False] * len(right))]
    area = area_under_roc([*wrong, *right], labels, range(len(labels)))
    return Comparison(right, wrong, mann_whitney(wrong, right), area)


def _outcomes(run: StudyRun) -> dict[str, int]:
    found = [harm.outcome for harm in run.harms.values()]
    counts = {name: found.count(name) for name in ("found", "llm_wrong", "llm_cut_off", "recovered")}
    return {**counts, "failed": sum(name not in run.harms for name in run.failed)}


def _window(window: int, found: Sequence[tuple[Floats, int]]) -> WindowEntropy:
    """The tokens before the harmful one against those before other places; window 0 is the token itself."""
    harmful, other = [], []
    for values, position in found:
        # Place p of `before` tells of the window that ends right before token p.
        before = values if window == 0 else np.concatenate([[np.nan], trailing_means(values, window)[:-1]])
        # The windows right after the harmful token hold it, and with it what they are compared with.
        rest = np.delete(before, range(position, min(position + window + 1, len(values))))
        rest = rest[~np.isnan(rest)]
        if not math.isnan(before[position]) and len(rest):
            harmful.append(float(before[position]))
            other.append(float(rest.mean()))
    differences = [a - b for a, b in zip(harmful, other, strict=True)]
    return WindowEntropy(
        window, mean_with_interval(harmful), mean_with_interval(other), mean_with_interval(differences)
    )


def _harm_area(
    window: int,
    rows: Sequence[Answer],
    nats: Mapping[str, Floats],
    positions: Mapping[str, int],
    *,
    disagreements_only: bool = False,
) -> Area | None:
    """Harmful tokens against the tokens before them and all tokens of right answers.

    What comes after a harmful token is left out: it is too late there. Among disagreements only, a token the LLM has
    not read is none.
    """
    scores, labels, clusters = [], [], []
    for place, row in enumerate(rows):
        position = positions.get(row["id"])
        if position is None and row["correct"] is not True:
            continue
        values = trailing_means(nats[row["id"]], window)
        end = len(values) if position is None else position + 1
        chosen = [i for i in range(end) if not disagreements_only or (i < len(row["agrees"]) and not row["agrees"][i])]
        scores.append(values[chosen])
        labels.append(np.asarray(chosen) == (-1 if position is None else position))
        clusters.append(np.full(len(chosen), place))
    return area_under_roc(*(np.concatenate(part) for part in (scores, labels, clusters))) if scores else None


def _disagreement_area(window: int, read: Sequence[tuple[Answer, Floats]]) -> Area | None:
    parts = [(values, row) for row, values in read if len(values)]
    if not parts:
        return None
    scores = np.concatenate([trailing_means(values, window) for values, _ in parts])
    labels = ~np.concatenate([np.asarray(row["agrees"], bool) for _, row in parts])
    clusters = np.concatenate([np.full(len(values), place) for place, (values, _) in enumerate(parts)])
    return area_under_roc(scores, labels, clusters)


def _threshold(
    tau: float,
    nats: float,
    every: Floats,
    read: Floats,
    disagrees: NDArray[np.bool_],
    found: Sequence[tuple[Floats, int]],
) -> Threshold:
    above = read[disagrees] > nats
    harmful = [values[position] > nats for values, position in found]
    return Threshold(
        tau,
        nats,
        float((every > nats).mean()) if len(every) else 0.0,
        float(above.mean()) if len(above) else None,
        sum(map(bool, harmful)) / len(harmful) if harmful else None,
    )


def _probe_counts(probed: Mapping[str, Sequence[Probe]]) -> dict[str, tuple[int, int]]:
    """Per side of the harmful token: probes, and those that did not come out as bisection assumes."""
    every = [probe for several in probed.values() for probe in several]
    sides = {"before": [p for p in every if p.before], "after": [p for p in every if not p.before]}
    return {name: (len(side), sum(not probe.as_assumed for probe in side)) for name, side in sides.items()}


def _harmful_row(row: Answer, position: int, log_vocabulary: float) -> dict[str, Any]:
    pieces = row["pieces"]
    return {
        "id": row["id"],
        "position": position,
        "tokens": len(pieces),
        "before": "".join(pieces[:position])[-_SHOWN_TEXT:],
        "token": pieces[position],
        "after": "".join(pieces[position + 1 :])[:_SHOWN_TEXT],
        "entropy": row["entropies"][position],
        "nats": row["entropies"][position] * log_vocabulary,
        "llm_agrees": row["agrees"][position] if position < len(row["agrees"]) else None,
    }
