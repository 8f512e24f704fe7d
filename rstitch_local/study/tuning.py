"""Chooses a router for a pair and a kind of problem: on one part of the rows, and tells how it does on the other.

Knows benches and what is wished for; nothing of settings files, nor of how a finding is shown. Every answer is kept
by a bench, so a tuning that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal

from rich.console import Console

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError
from rstitch_local.problems.metrics import Row
from rstitch_local.problems.progress import print_bad_rows
from rstitch_local.problems.reading import Problem, read_problems
from rstitch_local.problems.runner import Job
from rstitch_local.study.bench import BenchOutcome, compared, run_bench_on
from rstitch_local.study.figures import BASE, Footprint, RouterFigures

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
"""What is tried where no router is named."""
CHOOSING, REPORTING = "choosing", "reporting"
_SCOUTED_SHARE, _SCOUTED_LEAST = 4, 8


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a router has to keep to: at most `limit` of a loss, a share of the LLM, or milliseconds a problem.

    limit: a share of right answers (0.01 is one point) for "loss", of tokens for "share"; ms for "time".
    """

    kind: Literal["loss", "share", "time"]
    limit: float

    def value(self, own: RouterFigures) -> float | None:
        """What is held against the limit; None where it is not known."""
        if self.kind == "loss":
            return own.loss
        return own.llm_share if self.kind == "share" else None if own.seconds is None else own.seconds * 1e3

    def kept_by(self, own: RouterFigures) -> bool:
        """Whether a router keeps to it."""
        value = self.value(own)
        # A hair more, for shares like 0.29 - 0.28.
        return value is not None and value <= self.limit + 1e-9

    def hopeless(self, own: RouterFigures, rows: Sequence[Row]) -> bool:
        """Whether it is beyond the limit by more than two standard errors, so that more problems will hardly help."""
        value = self.value(own)
        if value is None:
            return True
        if self.kind == "loss":
            # The standard error of a paired difference: only problems on which the two differ move it.
            error = math.sqrt(own.better + own.worse) / max(1, own.problems)
        else:
            error = _standard_error([_one(row, self.kind) for row in rows if row["stop"] != "error"])
        return value > self.limit + 2 * error

    def __str__(self) -> str:
        if self.kind == "loss":
            return (
                f"at most {self.limit * 100:g} point{'' if self.limit == 0.01 else 's'} less right than the LLM alone"
            )
        if self.kind == "share":
            return f"at most {self.limit:.3g} of the tokens by the LLM"
        return f"at most {self.limit:g} ms a problem"

    def said(self, own: RouterFigures) -> str:
        """A router's value in words."""
        value = self.value(own)
        if value is None:
            return "nothing known"
        if self.kind == "loss":
            return f"{abs(value) * 100:.3g} points {'less' if value >= 0 else 'more'} right than the LLM alone"
        return f"an LLM share of {value:.3g}" if self.kind == "share" else f"{value:.3g} ms a problem"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a tuning has found so far.

    chosen: the spec that keeps to the wish, None while there is none.
    nearest: the figures of what comes nearest, where nothing but the LLM alone keeps to the wish or nothing at all.
    scouted: all candidates on the first problems of the choosing part.
    tested: those that were run on the whole choosing part, the LLM alone first.
    report: the bench of the reporting part; None before it began.
    reported: its figures, of the LLM alone and the chosen one.
    choosing, reporting: how many problems each part has.
    finished: False where it was stopped.
    """

    choosing: int
    reporting: int
    scouted: Sequence[RouterFigures] = ()
    tested: Sequence[RouterFigures] = ()
    chosen: str | None = None
    nearest: RouterFigures | None = None
    report: BenchOutcome | None = None
    reported: Sequence[RouterFigures] = ()
    finished: bool = False


def is_reporting(identifier: str) -> bool:
    """Which part a problem belongs to: a coin of its id alone, so that it stays there whatever else is in the file."""
    return hashlib.sha256(identifier.encode()).digest()[0] % 2 == 1


def tune(
    job: Job,
    candidates: Sequence[str],
    wish: Constraint,
    load: Callable[[], AbstractContextManager[Pair]],
    console: Console,
    should_stop: Callable[[], bool] = lambda: False,
    footprints: Mapping[Role, Footprint] | None = None,
) -> Tuning:
    """Find the candidate that does best within a wish, and measure it on problems that had no part in the choice.

    All candidates first solve the first quarter of the choosing part (8 problems at least), problem by problem in
    turn. Those beyond the wish by more than two standard errors are dropped. For a bearable loss the others then
    solve the rest of it one by one, from the fastest on, until one keeps to the wish: it is the fastest that does.
    For a share or a time the others all solve the rest, and of those that keep to the wish the one with most right
    answers is taken, of several the fastest. The LLM alone is a candidate of its own in all this.

    Args:
        job: what to solve and how; its `out` is the folder of the tuning.
        candidates: their specs, which are valid.
        wish: what the router has to keep to.
        load: opens the pair; called more than once.
        console: where progress is shown.
        should_stop: True ends it after what is done.
        footprints: for the memory in the figures.

    Raises:
        InputError: a part has no problems, none of them has a gold answer, or as `run_bench_on`.
        RStitchError: as `run_bench_on`.
    """
    problem_file = read_problems(job.file, job.fields, strict=job.strict)
    print_bad_rows(console, problem_file)
    choosing, reporting = _parts(job.selection.of(problem_file.problems))
    found = Tuning(len(choosing), len(reporting))

    def run(part: str, problems: Sequence[Problem], specs: Sequence[str]) -> BenchOutcome:
        return run_bench_on(problem_file, problems, replace(job, out=job.out / part), specs, load, console, should_stop)

    quarter = choosing[: max(len(choosing) // _SCOUTED_SHARE, min(len(choosing), _SCOUTED_LEAST))]
    scouting = run(CHOOSING, quarter, candidates)
    scouted = compared(scouting, footprints, job.seed)
    found = replace(found, scouted=scouted)
    if not scouting.finished:
        return found
    hopeful = [own for own in scouted if not wish.hopeless(own, scouting.rows[own.router])]
    search = _Search(wish, scouted)
    for specs in search.orders(hopeful):
        outcome = run(CHOOSING, choosing, specs)
        figures = compared(outcome, footprints, job.seed)
        search.add(figures)
        found = replace(found, tested=list(search.tested.values()))
        if not outcome.finished:
            return found
        if search.done():
            break
    chosen = search.best()
    found = replace(found, chosen=chosen.router if chosen else None, nearest=search.nearest(chosen))
    if chosen is None:
        return replace(found, finished=True)
    report = run(REPORTING, reporting, [chosen.router])
    return replace(found, report=report, reported=compared(report, footprints, job.seed), finished=report.finished)


@dataclass(slots=True)
class _Search:
    """What was run on the whole choosing part, and what it says."""

    wish: Constraint
    scouted: Sequence[RouterFigures]
    tested: dict[str, RouterFigures] = field(default_factory=dict)

    def orders(self, hopeful: Sequence[RouterFigures]) -> list[list[str]]:
        """What to run in turn: for a loss one by one from the fastest up to the LLM alone, else all at once."""
        pace = {own.router: own.seconds or math.inf for own in self.scouted}
        if self.wish.kind != "loss":
            return [[own.router for own in hopeful]]
        faster = [own.router for own in hopeful if own.router != BASE and pace[own.router] < pace[BASE]]
        # The LLM alone is the base of every loss, and is run with the first.
        return [[spec] for spec in sorted(faster, key=pace.__getitem__)] or [[BASE]]

    def add(self, figures: Sequence[RouterFigures]) -> None:
        """Take note of routers that ran on the whole part."""
        self.tested |= {own.router: own for own in figures}

    def done(self) -> bool:
        """Whether the rest cannot be better."""
        return self.wish.kind == "loss" and self._routers_that_keep() != []

    def best(self) -> RouterFigures | None:
        """The one to take."""
        within = [own for own in self.tested.values() if self.wish.kept_by(own)]
        if self.wish.kind == "loss":
            return min(within, key=lambda own: own.seconds or math.inf, default=None)
        return max(within, key=lambda own: (own.accuracy or 0.0, -(own.seconds or math.inf)), default=None)

    def nearest(self, chosen: RouterFigures | None) -> RouterFigures | None:
        """What comes nearest to the wish, where no router keeps to it; what solved most problems goes first."""
        if chosen is not None and chosen.router != BASE:
            return None
        others = [own for own in self.tested.values() if own.router != BASE]
        others = others or [own for own in self.scouted if own.router != BASE]
        if self._routers_that_keep():
            return None
        return min(others, key=lambda own: _or_infinite(self.wish.value(own)), default=None)

    def _routers_that_keep(self) -> list[RouterFigures]:
        return [own for own in self.tested.values() if own.router != BASE and self.wish.kept_by(own)]


def _parts(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    """The choosing and the reporting part; raises InputError where one is empty or has nothing to be graded by."""
    parts = [p for p in problems if not is_reporting(p.id)], [p for p in problems if is_reporting(p.id)]
    for part, name in zip(parts, (CHOOSING, REPORTING), strict=True):
        if not part:
            raise InputError(
                "Too few problems",
                f"Rows are split by a coin of their id, and the {name} part of these {len(problems)} is empty.",
                "Tune on 40 problems or more.",
            )
        if all(problem.gold is None for problem in part):
            raise InputError("No gold answers", f"No problem of the {name} part has an answer to be graded by.")
    return parts


def _one(row: Row, kind: str) -> float:
    """One answer's share of the LLM, or its milliseconds."""
    tokens = row["tokens"]
    return (tokens["llm"] / max(1, tokens["slm"] + tokens["llm"])) if kind == "share" else float(row["wall_ms"] or 0)


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value
