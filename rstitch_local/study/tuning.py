"""Choose a router for a pair and a kind of problem on one part of the problems, and measure it on the other part.

Independent of settings files and reports. All answers are stored by benches, so an interrupted tuning resumes.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rstitch_local.decoding.roles import Role
from rstitch_local.errors import InputError
from rstitch_local.problems.metrics import Row
from rstitch_local.problems.reading import Problem, read_problems
from rstitch_local.problems.runner import Job
from rstitch_local.study.bench import BenchOutcome, LoadPair, compare_routers, run_bench_on
from rstitch_local.study.bench_observer import BenchObserver
from rstitch_local.study.formats import points
from rstitch_local.study.router_metrics import BASELINE, MemoryFootprint, RouterMetrics

CANDIDATES = (
    *(f"entropy:{tau}" for tau in (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2)),
    *(f"window:8:{tau}" for tau in (0.001, 0.003, 0.01, 0.03)),
    *(f"momentum:0.7:{tau}" for tau in (0.003, 0.01, 0.03)),
    *(f"stay:4:{tau}" for tau in (0.02, 0.1)),
    *(f"one:{tau}" for tau in (0.02, 0.1)),
    *(f"margin:{margin}" for margin in (0.2, 0.5)),
    "hysteresis:0.1:0.02",
    "slm",
)
"""Candidates used if no router is given."""
CHOOSING, REPORTING = "choosing", "reporting"
_SCREENING_FRACTION, _SCREENING_MINIMUM = 4, 8
_RunPart = Callable[[str, Sequence[Problem], Sequence[str]], tuple[BenchOutcome, list[RouterMetrics]]]


@dataclass(frozen=True, slots=True)
class Constraint:
    """Upper limit on the accuracy loss, the LLM share, or the time per problem of a router.

    limit: a share of right answers for "loss" (0.01 is 1 point), of tokens for "share"; milliseconds for "time".
    """

    kind: Literal["loss", "share", "time"]
    limit: float

    def value(self, result: RouterMetrics) -> float | None:
        """Return the metric that is compared with the limit; None if unknown."""
        if self.kind == "loss":
            return result.loss
        if self.kind == "share":
            return result.llm_share
        return None if result.seconds is None else result.seconds * 1e3

    def satisfied_by(self, result: RouterMetrics) -> bool:
        """Return whether a router is within the limit."""
        value = self.value(result)
        # Differences such as 0.29 - 0.28 exceed 0.01 by rounding.
        return value is not None and value <= self.limit + 1e-9

    def is_hopeless(self, result: RouterMetrics, rows: Sequence[Row]) -> bool:
        """Return whether a router exceeds the limit by more than two standard errors, or its value is unknown."""
        value = self.value(result)
        if value is None:
            return True
        if self.kind == "loss":
            # Standard error of a paired difference: only problems with different results contribute.
            error = math.sqrt(result.better + result.worse) / max(1, result.problems)
        else:
            error = _standard_error([self._value_of_row(row) for row in rows if row["stop"] != "error"])
        return value > self.limit + 2 * error

    def _value_of_row(self, row: Row) -> float:
        tokens = row["tokens"]
        if self.kind == "share":
            return float(tokens["llm"] / max(1, tokens["slm"] + tokens["llm"]))
        return float(row["wall_ms"] or 0)

    def __str__(self) -> str:
        if self.kind == "loss":
            return f"accuracy at most {points(self.limit)} below the LLM alone"
        if self.kind == "share":
            return f"LLM share at most {self.limit:.3g}"
        return f"at most {self.limit:g} ms per problem"

    def describe(self, result: RouterMetrics) -> str:
        """Return the constrained metric of a router as a phrase: "an LLM share of 0.2"."""
        value = self.value(result)
        if value is None:
            return "an unknown value"
        if self.kind == "loss":
            return f"an accuracy {points(abs(value))} {'below' if value >= 0 else 'above'} the LLM alone"
        return f"an LLM share of {value:.3g}" if self.kind == "share" else f"{value:.3g} ms per problem"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Results of a tuning so far.

    choosing, reporting: number of problems in each part.
    screened: all candidates on the first problems of the choosing part.
    tested: routers that ran on the whole choosing part, the LLM alone first.
    chosen: spec of the chosen router; None if none satisfies the constraint or the tuning is unfinished.
    nearest: if no router satisfies the constraint, the one that comes nearest.
    report: bench of the reporting part; None before it started.
    reported: metrics on the reporting part of the LLM alone and the chosen router.
    finished: False if the tuning was stopped.
    """

    choosing: int
    reporting: int
    screened: Sequence[RouterMetrics] = ()
    tested: Sequence[RouterMetrics] = ()
    chosen: str | None = None
    nearest: RouterMetrics | None = None
    report: BenchOutcome | None = None
    reported: Sequence[RouterMetrics] = ()
    finished: bool = False


def is_reporting(identifier: str) -> bool:
    """Return whether a problem belongs to the reporting part; depends on its id only (first byte of its SHA-256)."""
    return hashlib.sha256(identifier.encode()).digest()[0] % 2 == 1


def tune(
    job: Job,
    candidates: Sequence[str],
    constraint: Constraint,
    load: LoadPair,
    observer: BenchObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    footprints: Mapping[Role, MemoryFootprint] | None = None,
) -> Tuning:
    """Find the best candidate that satisfies a constraint, and measure it on problems not used for the choice.

    Screening: all candidates solve the first quarter of the choosing part (at least 8 problems). Candidates that
    exceed the constraint by more than two standard errors are dropped. With a loss constraint, the others run on the
    whole choosing part one by one, fastest first, until one satisfies the constraint: it is the fastest that does.
    With a share or time constraint, all others run on it, and the most accurate one that satisfies the constraint is
    chosen, the fastest of equally accurate ones. The LLM alone is always a candidate.

    Args:
        job: problems and settings; `job.out` is the folder of the tuning.
        candidates: valid router specs.
        constraint: limit for the chosen router.
        load: opens the pair; called several times.
        observer: receives progress of each bench of the tuning; None for no output.
        should_stop: polled between evaluations; True ends the tuning and keeps the finished answers.
        footprints: memory of both models, for `RouterMetrics.memory_bytes`.

    Raises:
        InputError: a part has no problems or no gold answers, or as in `run_bench_on`.
        RStitchError: as in `run_bench_on`.
    """
    observer = observer or BenchObserver()
    problem_file = read_problems(job.source, job.fields, strict=job.strict)
    observer.on_problem_file(problem_file)
    choosing, reporting = _split(job.selection.of(problem_file.problems))

    def run(part: str, problems: Sequence[Problem], specs: Sequence[str]) -> tuple[BenchOutcome, list[RouterMetrics]]:
        part_job = replace(job, out=job.out / part)
        outcome = run_bench_on(problem_file, problems, part_job, specs, load, observer, should_stop)
        return outcome, compare_routers(outcome, footprints, job.seed)

    tuning, chosen = _choose(Tuning(len(choosing), len(reporting)), candidates, constraint, choosing, run)
    if chosen is None:
        return tuning
    report, reported = run(REPORTING, reporting, [chosen])
    return replace(tuning, report=report, reported=reported, finished=report.finished)


def _choose(
    tuning: Tuning, candidates: Sequence[str], constraint: Constraint, choosing: Sequence[Problem], run: _RunPart
) -> tuple[Tuning, str | None]:
    """Run the choosing part; return its results and the chosen router, None if there is none or it was stopped."""
    count = max(len(choosing) // _SCREENING_FRACTION, min(len(choosing), _SCREENING_MINIMUM))
    screening, screened = run(CHOOSING, choosing[:count], candidates)
    tuning = replace(tuning, screened=screened)
    if not screening.finished:
        return tuning, None
    remaining = [result for result in screened if not constraint.is_hopeless(result, screening.rows[result.router])]
    search = _Search(constraint, screened)
    for specs in search.batches(remaining):
        outcome, results = run(CHOOSING, choosing, specs)
        search.add(results)
        tuning = replace(tuning, tested=list(search.tested.values()))
        if not outcome.finished:
            return tuning, None
        if search.is_decided():
            break
    best = search.best()
    chosen = best.router if best else None
    return replace(tuning, chosen=chosen, nearest=search.nearest(best), finished=chosen is None), chosen


@dataclass(slots=True)
class _Search:
    """Routers that ran on the whole choosing part, and which ones to run next."""

    constraint: Constraint
    screened: Sequence[RouterMetrics]
    tested: dict[str, RouterMetrics] = field(default_factory=dict)

    def batches(self, remaining: Sequence[RouterMetrics]) -> list[list[str]]:
        """Return the specs to run in turn: one by one for a loss constraint (fastest first), else all together."""
        seconds = {result.router: result.seconds or math.inf for result in self.screened}
        if self.constraint.kind != "loss":
            return [[result.router for result in remaining]]
        faster = [r.router for r in remaining if r.router != BASELINE and seconds[r.router] < seconds[BASELINE]]
        # The LLM alone runs with the first of them: every loss is relative to it.
        return [[spec] for spec in sorted(faster, key=seconds.__getitem__)] or [[BASELINE]]

    def add(self, results: Sequence[RouterMetrics]) -> None:
        """Record routers that ran on the whole choosing part."""
        self.tested |= {result.router: result for result in results}

    def is_decided(self) -> bool:
        """Return whether no remaining batch can be better."""
        return self.constraint.kind == "loss" and self._satisfying() != []

    def best(self) -> RouterMetrics | None:
        """Return the best router that satisfies the constraint, which may be the LLM alone."""
        within = [result for result in self.tested.values() if self.constraint.satisfied_by(result)]
        if self.constraint.kind == "loss":
            return min(within, key=lambda result: result.seconds or math.inf, default=None)
        return max(within, key=lambda r: (r.accuracy or 0.0, -(r.seconds or math.inf)), default=None)

    def nearest(self, chosen: RouterMetrics | None) -> RouterMetrics | None:
        """Return the router nearest to the constraint, or None if one satisfies it; prefers fully tested routers."""
        if self._satisfying() or (chosen is not None and chosen.router != BASELINE):
            return None
        others = [result for result in self.tested.values() if result.router != BASELINE]
        others = others or [result for result in self.screened if result.router != BASELINE]
        return min(others, key=self._distance, default=None)

    def _distance(self, result: RouterMetrics) -> float:
        value = self.constraint.value(result)
        return math.inf if value is None else value

    def _satisfying(self) -> list[RouterMetrics]:
        return [r for r in self.tested.values() if r.router != BASELINE and self.constraint.satisfied_by(r)]


def _split(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Return the choosing and the reporting part; raises InputError if one is empty or has no gold answers."""
    parts = [p for p in problems if not is_reporting(p.id)], [p for p in problems if is_reporting(p.id)]
    for part, name in zip(parts, (CHOOSING, REPORTING), strict=True):
        if not part:
            raise InputError(
                "Too few problems",
                f"Problems are split by a hash of their id, and the {name} part of these {len(problems)} is empty.",
                "Use 40 problems or more.",
            )
        if all(problem.gold is None for problem in part):
            raise InputError("No gold answers", f"No problem of the {name} part has a gold answer.")
    return parts


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
