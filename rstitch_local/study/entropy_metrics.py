"""Metrics of the entropy study (figure 3 of the paper): the SLM's entropies and what they predict about its mistakes.

Computed from a StudyRun; independent of models, reports and plots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.harmful_token import Probe
from rstitch_local.study.statistics import (
    Area,
    Interval,
    MannWhitney,
    area_under_roc,
    mann_whitney,
    wilson,
)
from rstitch_local.study.token_windows import (
    WINDOWS,
    Floats,
    WindowEntropy,
    disagreement_area,
    harm_area,
    window_entropy,
)

LOW_ENTROPY_NATS = 0.1
"""Boundary of low entropy in the paper's histogram."""
TAUS = (0.001, 0.005, 0.02, 0.03, 0.05, 0.1)
SMALLEST_NATS = 1e-6
"""Lower end of the histogram; smaller entropies are counted in the first bin."""
_BINS_PER_DECADE = 6
_TEXT_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean entropies (nats) of right and of wrong answers, the test between them, and P(wrong > right)."""

    right: list[float]
    wrong: list[float]
    test: MannWhitney | None
    area: Area | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """Tokens above a threshold in the SLM's own answers.

    tau: normalized threshold; nats: the same in nats.
    share_above: share of all tokens above tau.
    disagreements: share of the LLM's disagreements above tau; None without disagreements.
    harmful: share of the harmful tokens above tau; None without harmful tokens.
    """

    tau: float
    nats: float
    share_above: float
    disagreements: float | None
    harmful: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Tokens with an entropy from `low` to `high` nats.

    tokens: their number; scored: how many the LLM scored; disagreed: at how many it would have differed.
    """

    low: float
    high: float
    tokens: int
    scored: int
    disagreed: int

    @property
    def disagreement(self) -> tuple[float, Interval] | None:
        """Share of disagreements with its Wilson interval; None if the LLM scored no token of the bin."""
        share = self.disagreed / self.scored if self.scored else 0.0
        return (share, wilson(share, self.scored)) if self.scored else None


@dataclass(frozen=True, slots=True)
class EntropyMetrics:
    """All metrics of a study. Entropies are in nats; divide by `log_vocabulary` to normalize them.

    answers: counts of problems, right, wrong, ungraded, cut off and failed answers.
    low_entropy_share: share of tokens with at most `LOW_ENTROPY_NATS`.
    agreement: share of tokens where the LLM agrees with the SLM.
    comparison: right against wrong answers; comparison_uncut: the same without answers that were cut off.
    outcomes: number of harmful-token searches by outcome.
    continuations: number of continuations, and how many were cut off.
    at_token: entropy at the harmful token; windows: before it, for each of `WINDOWS`.
    harm_areas, disagreement_areas: ROC areas of the mean entropy over a window, for each of `WINDOWS`.
    harm_among_disagreements: ROC area for harmful tokens among disagreements, window 1.
    probes: by side of the harmful token ("before", "after") the number of probes, and of those that contradict the
        search.
    harmful: rows of harmful.csv.
    """

    log_vocabulary: float
    tau: float
    answers: dict[str, int]
    tokens: int
    mean_nats: float | None
    quartiles_nats: tuple[float, float, float] | None
    low_entropy_share: float | None
    agreement: float | None
    bins: list[Bin]
    comparison: Comparison
    comparison_uncut: Comparison | None
    outcomes: dict[str, int]
    continuations: tuple[int, int]
    at_token: WindowEntropy
    windows: list[WindowEntropy]
    harm_areas: list[Area | None]
    harm_among_disagreements: Area | None
    disagreement_areas: list[Area | None]
    thresholds: list[Threshold]
    probes: dict[str, tuple[int, int]]
    harmful: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics under their names in entropy.json."""
        # Some names in the file are older than those of the attributes.
        record = _rename(
            asdict(self),
            {
                "low_entropy_share": "sure_share",
                "comparison": "compared",
                "comparison_uncut": "compared_uncut",
                "at_token": "own",
            },
        )
        record["bins"] = [_rename(one, {"scored": "read"}) for one in record["bins"]]
        record["thresholds"] = [_rename(one, {"share_above": "asked"}) for one in record["thresholds"]]
        return record


def _rename(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in record.items()}


def entropy_metrics(run: StudyRun) -> EntropyMetrics:
    """Compute all metrics of a study."""
    rows = [row for row in run.rows if row["stop"] != "error" and row["entropies"]]
    nats = {row["id"]: np.asarray(row["entropies"]) * run.log_vocabulary for row in rows}
    positions = {name: harm.position for name, harm in run.harms.items() if harm.position is not None}
    all_nats = np.concatenate([*nats.values(), np.empty(0)])
    scored = [(row, nats[row["id"]][: len(row["agrees"])]) for row in rows]
    scored_nats = np.concatenate([values for _, values in scored] + [np.empty(0)])
    disagrees = ~np.concatenate([np.asarray(row["agrees"], bool) for row, _ in scored] + [np.empty(0, bool)])
    harmful = [(nats[name], position) for name, position in positions.items()]
    uncut = [row for row in rows if row["stop"] == "eog"]
    taus = sorted({*TAUS, run.tau})
    return EntropyMetrics(
        log_vocabulary=run.log_vocabulary,
        tau=run.tau,
        answers=_answer_counts(run.rows),
        tokens=len(all_nats),
        mean_nats=float(all_nats.mean()) if len(all_nats) else None,
        quartiles_nats=_quartiles(all_nats) if len(all_nats) else None,
        low_entropy_share=float((all_nats <= LOW_ENTROPY_NATS).mean()) if len(all_nats) else None,
        agreement=float((~disagrees).mean()) if len(disagrees) else None,
        bins=_bins(all_nats, scored_nats, disagrees, run.log_vocabulary),
        comparison=_comparison(rows, nats),
        comparison_uncut=_comparison(uncut, nats) if len(uncut) < len(rows) else None,
        outcomes=_outcomes(run),
        continuations=run.continuations,
        at_token=window_entropy(0, harmful),
        windows=[window_entropy(window, harmful) for window in WINDOWS],
        harm_areas=[harm_area(window, rows, nats, positions) for window in WINDOWS],
        harm_among_disagreements=harm_area(1, rows, nats, positions, disagreements_only=True),
        disagreement_areas=[disagreement_area(window, scored) for window in WINDOWS],
        thresholds=[_threshold(tau, run.log_vocabulary, all_nats, scored_nats[disagrees], harmful) for tau in taus],
        probes=_probe_counts(run.probed),
        harmful=[_harmful_row(row, positions[row["id"]], run.log_vocabulary) for row in rows if row["id"] in positions],
    )


def _answer_counts(rows: Sequence[Answer]) -> dict[str, int]:
    finished = [row for row in rows if row["stop"] != "error"]
    return {
        "problems": len(rows),
        "right": sum(row["correct"] is True for row in finished),
        "wrong": sum(row["correct"] is False for row in finished),
        "ungraded": sum(row["correct"] is None for row in finished),
        "cut_off": sum(row["stop"] == "length" for row in finished),
        "errors": len(rows) - len(finished),
    }


def _quartiles(values: Floats) -> tuple[float, float, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(median), float(high)


def _bins(all_nats: Floats, scored: Floats, disagrees: NDArray[np.bool_], log_vocabulary: float) -> list[Bin]:
    """Return bins of equal logarithmic width from `SMALLEST_NATS` to the largest possible entropy."""
    decades = math.log10(log_vocabulary / SMALLEST_NATS)
    edges = np.logspace(math.log10(SMALLEST_NATS), math.log10(log_vocabulary), round(_BINS_PER_DECADE * decades) + 1)

    def count(values: Floats) -> NDArray[np.int64]:
        return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]

    counts = zip(count(all_nats), count(scored), count(scored[disagrees]), strict=True)
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
    outcomes = [harm.outcome for harm in run.harms.values()]
    counts = {name: outcomes.count(name) for name in ("found", "llm_wrong", "llm_cut_off", "recovered")}
    return {**counts, "failed": sum(name not in run.harms for name in run.failed)}


def _threshold(
    tau: float,
    log_vocabulary: float,
    all_nats: Floats,
    disagreement_nats: Floats,
    answers: Sequence[tuple[Floats, int]],
) -> Threshold:
    nats = tau * log_vocabulary
    # Strictly above, like the entropy router.
    harmful = [bool(values[position] > nats) for values, position in answers]
    return Threshold(
        tau,
        nats,
        float((all_nats > nats).mean()) if len(all_nats) else 0.0,
        float((disagreement_nats > nats).mean()) if len(disagreement_nats) else None,
        sum(harmful) / len(harmful) if harmful else None,
    )


def _probe_counts(probed: Mapping[str, Sequence[Probe]]) -> dict[str, tuple[int, int]]:
    """Return for each side of the harmful token the number of probes, and of those that contradict the search."""
    probes = [probe for several in probed.values() for probe in several]
    sides = {"before": [p for p in probes if p.before], "after": [p for p in probes if not p.before]}
    return {name: (len(side), sum(not probe.as_assumed for probe in side)) for name, side in sides.items()}


def _harmful_row(row: Answer, position: int, log_vocabulary: float) -> dict[str, Any]:
    pieces = row["pieces"]
    return {
        "id": row["id"],
        "position": position,
        "tokens": len(pieces),
        "before": "".join(pieces[:position])[-_TEXT_LENGTH:],
        "token": pieces[position],
        "after": "".join(pieces[position + 1 :])[:_TEXT_LENGTH],
        "entropy": row["entropies"][position],
        "nats": row["entropies"][position] * log_vocabulary,
        "llm_agrees": row["agrees"][position] if position < len(row["agrees"]) else None,
    }
