"""Accuracy, time, tokens and memory of each router in a comparison, computed from the rows of answers.jsonl.

Independent of how answers are generated and of how metrics are displayed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.llama.batch import KINDS
from rstitch_local.problems.metrics import Row, accuracy, summary
from rstitch_local.study.statistics import Interval, difference_interval, mcnemar, ratio_interval, total_ratio

BASELINE = "llm"
"""The router all others are compared with: the LLM alone."""
TIME_PARTS = ("slm_decode", "llm_decode", "catch_up", "prompt", "rest")
"""Parts of the time of an answer; `rest` is the time outside llama.cpp."""


@dataclass(frozen=True, slots=True)
class MemoryFootprint:
    """Memory of one model in bytes: its weight file, and its KV cache per token."""

    file_bytes: int
    cell_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that ended in an error."""

    id: str
    sample: int
    error: str


@dataclass(frozen=True, slots=True)
class RouterMetrics:
    """Metrics of one router. Values that cannot be computed are None.

    problems, answers, graded, correct: counts; with several samples a problem has several answers.
    failures: answers that ended in an error; they count as wrong and are excluded from times and token counts.
    cut_off: answers that ended because max_tokens or the context was used up.
    accuracy, interval: mean over problems of the share of right answers, and its 95 % Wilson interval.
    loss, loss_interval: baseline accuracy minus this accuracy, paired by problem (Newcombe interval).
    better, worse, p: problems with more or fewer right answers than the baseline, and McNemar's exact test.
    seconds, median_seconds: wall time per problem.
    speed_up, speed_up_interval: total baseline time divided by this router's, paired bootstrap over problems.
    llm_share: share of the kept tokens that the LLM generated.
    tokens, slm_tokens, llm_tokens: kept tokens, mean over answers.
    swaps_up, swaps_down, catch_up_tokens: means over answers; up is SLM to LLM.
    kv_cells: by model the largest number of tokens evaluated for an answer, hence the KV cache it needs.
    memory_bytes: weight files of the models used, plus that many KV cells.
    parts: seconds per problem by `TIME_PARTS`.
    ms_per_token: mean time per token by "role kind" ("slm decode", "llm catch_up").
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
    kv_cells: Mapping[str, int]
    memory_bytes: int | None
    parts: Mapping[str, float]
    ms_per_token: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics under their names in figures.json and tune.json."""
        # `kv_cells` is called "cells" in these files.
        return {"cells" if name == "kv_cells" else name: value for name, value in asdict(self).items()}


class AccuracyComparison(NamedTuple):
    """Paired comparison of right answers with the baseline; the fields are those of `RouterMetrics`."""

    loss: float | None
    loss_interval: Interval | None
    better: int
    worse: int
    p: float | None


def metrics_of(
    router: str,
    rows: Sequence[Row],
    baseline: Sequence[Row],
    *,
    footprints: Mapping[Role, MemoryFootprint] | None = None,
    seed: int = 0,
) -> RouterMetrics:
    """Compute the metrics of one router and compare it with the baseline.

    Args:
        router: its spec.
        rows: its rows of answers.jsonl.
        baseline: rows of the LLM alone for the same problems.
        footprints: memory of both models; without it `memory_bytes` is None.
        seed: seed of the bootstrap.
    """
    is_baseline = router == BASELINE
    finished = [row for row in rows if row["stop"] != "error"]
    totals = summary(finished)
    mean_accuracy, interval, _ = accuracy(rows)
    comparison = compare_accuracy(rows, baseline)
    times, baseline_times = paired_ms(rows, baseline)
    solved = totals["problems"]
    kv_cells = {role.value: max((sum(row["evaluated"][role].values()) for row in finished), default=0) for role in Role}
    return RouterMetrics(
        router=router,
        problems=len({row["id"] for row in rows}),
        answers=len(rows),
        graded=sum(row["correct"] is not None for row in rows),
        correct=sum(row["correct"] is True for row in rows),
        failures=tuple(Failure(r["id"], r["sample"], r["error"] or "") for r in rows if r["stop"] == "error"),
        cut_off=sum(row["stop"] == "length" for row in rows),
        accuracy=mean_accuracy,
        interval=interval,
        loss=comparison.loss,
        loss_interval=None if is_baseline else comparison.loss_interval,
        better=comparison.better,
        worse=comparison.worse,
        p=None if is_baseline else comparison.p,
        seconds=totals["seconds_per_problem"]["mean"],
        median_seconds=totals["seconds_per_problem"]["median"],
        speed_up=total_ratio(baseline_times, times),
        speed_up_interval=None if is_baseline else ratio_interval(baseline_times, times, seed=seed),
        llm_share=totals["llm_share"],
        tokens=_mean(row["tokens"]["slm"] + row["tokens"]["llm"] for row in finished),
        slm_tokens=_mean(row["tokens"]["slm"] for row in finished),
        llm_tokens=_mean(row["tokens"]["llm"] for row in finished),
        swaps_up=_mean(row["swaps"]["up"] for row in finished),
        swaps_down=_mean(row["swaps"]["down"] for row in finished),
        catch_up_tokens=_mean(sum(row["evaluated"][role]["catch_up"] for role in Role) for row in finished),
        kv_cells=kv_cells,
        memory_bytes=_memory_bytes(kv_cells, footprints),
        parts={name: seconds / solved for name, seconds in _time_parts(finished).items()} if solved else {},
        ms_per_token=_ms_per_token(finished),
    )


def compare_accuracy(rows: Sequence[Row], baseline: Sequence[Row]) -> AccuracyComparison:
    """Compare the right answers of a router with those of the baseline, paired by problem."""
    mean, interval, _ = accuracy(rows)
    baseline_mean, baseline_interval, _ = accuracy(baseline)
    shares, baseline_shares = _right_shares(rows), _right_shares(baseline)
    common = [identifier for identifier in shares if identifier in baseline_shares]
    better = sum(shares[i] > baseline_shares[i] for i in common)
    worse = sum(shares[i] < baseline_shares[i] for i in common)
    loss_interval = None
    if interval is not None and baseline_interval is not None:
        loss_interval = difference_interval(
            [baseline_shares[i] for i in common], [shares[i] for i in common], baseline_interval, interval
        )
    loss = None if mean is None or baseline_mean is None else baseline_mean - mean
    return AccuracyComparison(loss, loss_interval, better, worse, mcnemar(better, worse) if common else None)


def paired_ms(rows: Sequence[Row], other: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Return wall milliseconds per problem for both, over the answers that ended without an error in both."""
    others = {(row["id"], row["sample"]): row for row in other if row["stop"] != "error"}
    times: dict[str, float] = {}
    other_times: dict[str, float] = {}
    for row in rows:
        partner = others.get((row["id"], row["sample"]))
        if row["stop"] != "error" and partner is not None:
            times[row["id"]] = times.get(row["id"], 0.0) + (row["wall_ms"] or 0.0)
            other_times[row["id"]] = other_times.get(row["id"], 0.0) + (partner["wall_ms"] or 0.0)
    return list(times.values()), list(other_times.values())


def _right_shares(rows: Sequence[Row]) -> dict[str, float]:
    """Return by problem the share of right answers, for the problems with a gold answer."""
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if row["correct"] is not None:
            verdicts.setdefault(row["id"], []).append(row["correct"])
    return {identifier: sum(correct) / len(correct) for identifier, correct in verdicts.items()}


def _mean(values: Iterable[int]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None


def _memory_bytes(kv_cells: Mapping[str, int], footprints: Mapping[Role, MemoryFootprint] | None) -> int | None:
    used = [role for role in Role if kv_cells[role]]
    if not footprints or not used:
        return None
    return sum(footprints[role].file_bytes + kv_cells[role] * footprints[role].cell_bytes for role in used)


def _time_parts(rows: Sequence[Row]) -> dict[str, float]:
    """Return total seconds by `TIME_PARTS`."""
    ms = {(role, kind): sum(row["ms"][role][kind] for row in rows) for role in Role for kind in KINDS}
    both = {kind: ms[Role.SLM, kind] + ms[Role.LLM, kind] for kind in KINDS}
    wall = sum(row["wall_ms"] or 0.0 for row in rows)
    parts = {
        "slm_decode": ms[Role.SLM, "decode"],
        "llm_decode": ms[Role.LLM, "decode"],
        "catch_up": both["catch_up"],
        "prompt": both["prompt"],
        # Negative if batched answers share evaluations, or by rounding.
        "rest": max(0.0, wall - sum(both.values())),
    }
    return {name: value / 1e3 for name, value in parts.items()}


def _ms_per_token(rows: Sequence[Row]) -> dict[str, float]:
    costs = {}
    for role in Role:
        for kind in KINDS:
            tokens = sum(row["evaluated"][role][kind] for row in rows)
            if tokens:
                costs[f"{role.value} {kind}"] = sum(row["ms"][role][kind] for row in rows) / tokens
    return costs
