"""What each router of a comparison cost and brought, in figures.

Knows the lines of answers files; nothing of how answers come about, nor of how figures are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.roles import Role
from rstitch_local.llama.batch import KINDS
from rstitch_local.problems.metrics import Row, accuracy, summary
from rstitch_local.study.statistics import Interval, difference_interval, mcnemar, ratio_interval, total_ratio

BASE = "llm"
"""The router everything is compared with: the LLM alone."""
PARTS = ("slm_decode", "llm_decode", "catch_up", "prompt", "rest")
"""What the time of an answer is taken apart into; `rest` is all that was not spent inside llama.cpp."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one model takes: its weight file, and a token in its cache, in bytes."""

    file_bytes: int
    cell_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that ended in an error."""

    id: str
    sample: int
    error: str


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One router's figures. What could not be had is None.

    problems, answers, graded, correct: how many; with several samples a problem has several answers.
    failures: answers that ended in an error; they count as wrong, and for no time or number of tokens.
    cut_off: answers that ended because the budget or the context was used up.
    accuracy, interval: the share of right answers, a mean over problems, and its 95 % Wilson interval.
    loss, loss_interval: the accuracy of the LLM alone minus this one's, paired by problem (Newcombe).
    better, worse, p: problems on which it got more right, or fewer, than the LLM alone, and McNemar's exact test.
    seconds, median_seconds: wall time a problem.
    speed_up, speed_up_interval: total time of the LLM alone over this one's, paired bootstrap over problems.
    llm_share: share of the kept tokens that the LLM wrote.
    tokens, slm_tokens, llm_tokens: kept tokens, a mean over answers.
    swaps_up, swaps_down, catch_up_tokens: means over answers.
    cells: the most tokens an answer had evaluated by each model: the cache it needs.
    memory_bytes: weight files of the models that were used, and that many cells.
    parts: seconds a problem by `PARTS`.
    ms_per_token: mean cost of a token by "role kind" ("slm decode", "llm catch_up").
    """

    router: str
    problems: int
    answers: int
    graded: int
    correct: int
    failures: tuple[Failure, ...]
    cut_off: int
    accuracy: float | None
    interval: Interval | None
    loss: float | None
    loss_interval: Interval | None
    better: int
    worse: int
    p: float | None
    seconds: float | None
    median_seconds: float | None
    speed_up: float | None
    speed_up_interval: Interval | None
    llm_share: float | None
    tokens: float | None
    slm_tokens: float | None
    llm_tokens: float | None
    swaps_up: float | None
    swaps_down: float | None
    catch_up_tokens: float | None
    cells: Mapping[str, int]
    memory_bytes: int | None
    parts: Mapping[str, float]
    ms_per_token: Mapping[str, float]


def figures_of(
    router: str,
    rows: Sequence[Row],
    base: Sequence[Row],
    *,
    footprints: Mapping[Role, Footprint] | None = None,
    seed: int = 0,
) -> RouterFigures:
    """Add up one router's answers, and compare them with the LLM's to the same problems.

    Args:
        router: its spec.
        rows: its lines of an answers file.
        base: those of the LLM alone.
        footprints: what the models take; without it no memory is computed.
        seed: of the bootstrap.
    """
    # The LLM has nothing to say against itself.
    other = router != BASE
    whole = [row for row in rows if row["stop"] != "error"]
    sums = summary(whole)
    mean, interval, _ = accuracy(rows)
    base_mean, base_interval, _ = accuracy(base)
    ours, theirs = _shares(rows), _shares(base)
    common = [identifier for identifier in ours if identifier in theirs]
    better = sum(ours[i] > theirs[i] for i in common)
    worse = sum(ours[i] < theirs[i] for i in common)
    loss_interval = None
    if interval is not None and base_interval is not None and other:
        loss_interval = difference_interval(
            [theirs[i] for i in common], [ours[i] for i in common], base_interval, interval
        )
    times, base_times = paired_ms(rows, base)
    problems = len({row["id"] for row in rows})
    solved = sums["problems"]
    cells = {role.value: max((sum(row["evaluated"][role].values()) for row in whole), default=0) for role in Role}
    used = [role for role in Role if cells[role]]
    return RouterFigures(
        router=router,
        problems=problems,
        answers=len(rows),
        graded=sum(row["correct"] is not None for row in rows),
        correct=sum(row["correct"] is True for row in rows),
        failures=tuple(Failure(r["id"], r["sample"], r["error"] or "") for r in rows if r["stop"] == "error"),
        cut_off=sum(row["stop"] == "length" for row in rows),
        accuracy=mean,
        interval=interval,
        loss=None if mean is None or base_mean is None else base_mean - mean,
        loss_interval=loss_interval,
        better=better,
        worse=worse,
        p=mcnemar(better, worse) if common and other else None,
        seconds=sums["seconds_per_problem"]["mean"],
        median_seconds=sums["seconds_per_problem"]["median"],
        speed_up=total_ratio(base_times, times),
        speed_up_interval=ratio_interval(base_times, times, seed=seed) if other else None,
        llm_share=sums["llm_share"],
        tokens=_mean(row["tokens"]["slm"] + row["tokens"]["llm"] for row in whole),
        slm_tokens=_mean(row["tokens"]["slm"] for row in whole),
        llm_tokens=_mean(row["tokens"]["llm"] for row in whole),
        swaps_up=_mean(row["swaps"]["up"] for row in whole),
        swaps_down=_mean(row["swaps"]["down"] for row in whole),
        catch_up_tokens=_mean(sum(row["evaluated"][role]["catch_up"] for role in Role) for row in whole),
        cells=cells,
        memory_bytes=sum(footprints[r].file_bytes + cells[r] * footprints[r].cell_bytes for r in used)
        if footprints and used
        else None,
        parts={name: seconds / solved for name, seconds in _parts(whole).items()} if solved else {},
        ms_per_token=_costs(whole),
    )


def paired_ms(rows: Sequence[Row], other: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Wall milliseconds a problem of both, over the answers that neither of the two ended in an error."""
    there = {(row["id"], row["sample"]): row for row in other if row["stop"] != "error"}
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for row in rows:
        partner = there.get((row["id"], row["sample"]))
        if row["stop"] != "error" and partner is not None:
            ours[row["id"]] = ours.get(row["id"], 0.0) + (row["wall_ms"] or 0.0)
            theirs[row["id"]] = theirs.get(row["id"], 0.0) + (partner["wall_ms"] or 0.0)
    return list(ours.values()), list(theirs.values())


def _shares(rows: Sequence[Row]) -> dict[str, float]:
    """The share of right answers to each problem that has a gold answer."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if row["correct"] is not None:
            verdicts.setdefault(row["id"], []).append(row["correct"])
    return {identifier: sum(given) / len(given) for identifier, given in verdicts.items()}


def _mean(values: Iterable[int]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None


def _parts(rows: Sequence[Row]) -> dict[str, float]:
    """Seconds in all by `PARTS`."""
    ms = {(role, kind): sum(row["ms"][role][kind] for row in rows) for role in Role for kind in KINDS}
    both = {kind: ms[Role.SLM, kind] + ms[Role.LLM, kind] for kind in KINDS}
    wall = sum(row["wall_ms"] or 0.0 for row in rows)
    parts = {
        "slm_decode": ms[Role.SLM, "decode"],
        "llm_decode": ms[Role.LLM, "decode"],
        "catch_up": both["catch_up"],
        "prompt": both["prompt"],
        # Answers that are written side by side share their evaluations, and their times are rounded.
        "rest": max(0.0, wall - sum(both.values())),
    }
    return {name: value / 1e3 for name, value in parts.items()}


def _costs(rows: Sequence[Row]) -> dict[str, float]:
    costs = {}
    for role in Role:
        for kind in KINDS:
            tokens = sum(row["evaluated"][role][kind] for row in rows)
            if tokens:
                costs[f"{role.value} {kind}"] = sum(row["ms"][role][kind] for row in rows) / tokens
    return costs
