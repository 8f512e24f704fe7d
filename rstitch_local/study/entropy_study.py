"""The paper's figure 3 on any pair: how unsure the SLM is, of what, and what that says about its mistakes.

Knows the answers, the harmful tokens found in them, and the figures drawn from both; the report's words are
entropy_report.py's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.routers import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.metrics import wilson
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Answer, RunFolder
from rstitch_local.study.answering import StudyJob, Watch, write_answers
from rstitch_local.study.harm import (
    CONTINUATIONS_FILE,
    Harm,
    Probe,
    Verdicts,
    candidates_of,
    continuation_oracle,
    find_harm,
    probe,
    probes_of,
)
from rstitch_local.study.rank_tests import Area, MannWhitney, Mean, area_under_roc, mann_whitney, mean_of
from rstitch_local.text import one_line

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
class StudyRun:
    """What was run: every chosen problem's answer, and what the search and its check found, by id."""

    rows: Sequence[Answer]
    harms: Mapping[str, Harm]
    probed: Mapping[str, Sequence[Probe]]
    failed: Mapping[str, str]
    log_vocabulary: float
    tau: float


def run_study(pair: Pair, job: StudyJob, watch: Watch, *, checks: int = 20) -> StudyRun:
    """Answer, read along, search the harmful tokens and check the search; what was done before is kept.

    Args:
        pair: loaded, with nothing running on it.
        job: what to study.
        watch: told how far it is.
        checks: answers whose harmful token is checked, by up to two continuations each.

    Raises:
        InputError: the folder holds answers made with other settings.
        StorageError: something could not be written; all before it is kept.
        GraderError: the grading process does not start.
    """
    with RunFolder(job.out / Role.SLM.value) as folder, Grader() as grader:
        job.begin(folder, Role.SLM, pair)
        rows = write_answers(pair, Role.SLM, job, folder, grader, watch)
        search = _Search(pair, job, grader, Verdicts(folder.path / CONTINUATIONS_FILE))
        questions = {problem.id: problem for problem in job.problems}
        wrong = [(row, questions[row["id"]]) for row in rows if row["correct"] is False and row["stop"] != "error"]
        search.find(wrong, watch)
        search.check(wrong, watch, checks)
    log_vocabulary = math.log(pair.weights[Role.SLM].n_vocab)
    return StudyRun(rows, search.harms, search.probed, search.failed, log_vocabulary, pair.defaults.tau)


class _Search:
    """The harmful tokens of all wrong answers."""

    def __init__(self, pair: Pair, job: StudyJob, grader: Grader, verdicts: Verdicts) -> None:
        self._pair = pair
        self._job = job
        self._grader = grader
        self._verdicts = verdicts
        self.harms: dict[str, Harm] = {}
        self.probed: dict[str, list[Probe]] = {}
        self.failed: dict[str, str] = {}

    def _oracle(self, row: Answer, problem: Problem) -> Any:
        messages = self._job.messages(problem)
        return continuation_oracle(self._pair, row, messages, self._job.max_tokens, self._grader, self._verdicts)

    def find(self, wrong: Sequence[tuple[Answer, Problem]], watch: Watch) -> None:
        """Search each; one that fails (broken logits) is noted, and the others go on."""
        stage = "Harmful tokens"
        watch(stage, 0, len(wrong))
        for place, (row, problem) in enumerate(wrong, start=1):
            try:
                harm = find_harm(candidates_of(row), len(row["answer_tokens"]), self._oracle(row, problem))
            except EngineError as error:
                self.failed[row["id"]] = f"{error.title}: {error.message}"
                said = "error"
            else:
                self.harms[row["id"]] = harm
                said = _told(harm, row)
            watch(stage, place, len(wrong), f"{one_line(row['id'], 40)}: {said}")

    def check(self, wrong: Sequence[tuple[Answer, Problem]], watch: Watch, checks: int) -> None:
        """Look at places bisection passed over, in a random sample of the answers that have a harmful token."""
        found = [(row, problem) for row, problem in wrong if self._position(row) is not None]
        # By a hash of the id: most of a sample stays the same when more problems are studied.
        found = sorted(found, key=lambda one: random.Random(f"rstitch check {one[0]['id']}").random())[:checks]
        stage = "Checks"
        watch(stage, 0, len(found))
        for place, (row, problem) in enumerate(found, start=1):
            identifier, position = row["id"], self._position(row)
            assert position is not None
            places = probes_of(identifier, candidates_of(row), position)
            oracle = self._oracle(row, problem)
            try:
                self.probed[identifier] = [probe(kept, position, oracle) for kept in places]
            except EngineError as error:
                self.failed[identifier] = f"{error.title}: {error.message}"
            fine = all(probe.as_assumed for probe in self.probed.get(identifier, ()))
            said = "as assumed" if fine else "not as assumed"
            watch(stage, place, len(found), f"{one_line(identifier, 40)}: {said}")

    def _position(self, row: Answer) -> int | None:
        harm = self.harms.get(row["id"])
        return harm.position if harm is not None else None


def _told(harm: Harm, row: Answer) -> str:
    if harm.position is None:
        return {"llm_wrong": "the LLM alone is wrong as well"}.get(harm.outcome, "still in the LLM's reach at its end")
    piece = one_line(row["pieces"][harm.position], 20)
    return f"token {harm.position + 1} of {len(row['answer_tokens'])} ({piece})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean entropies (nats) of right and wrong answers, and the test between them; area is P(wrong > right)."""

    right: list[float]
    wrong: list[float]
    test: MannWhitney | None
    area: Area | None


@dataclass(frozen=True, slots=True)
class WindowFigure:
    """Entropy (nats) over the tokens before the harmful one, and before all other places of the same answers.

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
    own: WindowFigure
    windows: list[WindowFigure]
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
    counts = {name: found.count(name) for name in ("found", "llm_wrong", "recovered")}
    return {**counts, "failed": sum(name not in run.harms for name in run.failed)}


def _window(window: int, found: Sequence[tuple[Floats, int]]) -> WindowFigure:
    """The tokens before the harmful one against those before all other places; window 0 is the token itself."""
    harmful, other = [], []
    for values, position in found:
        # Place p of `before` tells of the window that ends right before token p.
        before = values if window == 0 else np.concatenate([[np.nan], trailing_means(values, window)[:-1]])
        rest = np.delete(before, position)
        rest = rest[~np.isnan(rest)]
        if not math.isnan(before[position]) and len(rest):
            harmful.append(float(before[position]))
            other.append(float(rest.mean()))
    differences = [a - b for a, b in zip(harmful, other, strict=True)]
    return WindowFigure(window, mean_of(harmful), mean_of(other), mean_of(differences))


def _harm_area(
    window: int,
    rows: Sequence[Answer],
    nats: Mapping[str, Floats],
    positions: Mapping[str, int],
    *,
    disagreements_only: bool = False,
) -> Area | None:
    """Harmful tokens against the tokens before them and all tokens of right answers.

    What comes after a harmful token is left out: it is too late there.
    """
    scores, labels, clusters = [], [], []
    for place, row in enumerate(rows):
        position = positions.get(row["id"])
        if position is None and row["correct"] is not True:
            continue
        values = trailing_means(nats[row["id"]], window)
        end = len(values) if position is None else position + 1
        chosen = [i for i in range(end) if i == position or not disagreements_only or i in set(candidates_of(row))]
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
