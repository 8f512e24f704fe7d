"""Figures of a run: accuracy with its interval, pass@k, maj@k, and what it cost.

Pure functions over the lines of an answers file. Knows nothing of files, models or grading.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rstitch_local.problems.notation import normal_form

Row = Mapping[str, Any]
Z95 = 1.959963984540054


def wilson(share: float, trials: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share seen in `trials` trials; (0, 1) when there were none."""
    if trials <= 0:
        return 0.0, 1.0
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    # At the ends the exact bound is the share itself; rounding must not push the interval past it.
    low = 0.0 if share <= 0 else min(max(centre - half, 0.0), share)
    high = 1.0 if share >= 1 else max(min(centre + half, 1.0), share)
    return low, high


def accuracy(rows: Iterable[Row]) -> tuple[float | None, tuple[float, float] | None, int]:
    """Mean over problems of the share of their samples that is right, its 95 % interval, number of problems.

    Problems are the unit, for samples of one problem are not independent. The interval is Wilson's with the
    effective number of trials p(1-p) / variance of the mean: with one sample a problem that is the number of
    problems exactly, and it never exceeds the number of samples. None where nothing was graded.
    """
    verdicts = _verdicts(rows)
    if not verdicts:
        return None, None, 0
    shares = [sum(problem) / len(problem) for problem in verdicts.values()]
    count, mean = len(shares), sum(shares) / len(shares)
    samples = sum(len(problem) for problem in verdicts.values())
    spread = sum((share - mean) ** 2 for share in shares) / count
    binomial = mean * (1 - mean)
    if binomial <= 0:
        trials = float(count)
    elif spread <= 0:
        trials = float(samples)
    else:
        trials = min(max(count * binomial / spread, float(count)), float(samples))
    return mean, wilson(mean, trials), count


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased chance that one of `k` samples is right: 1 - C(n-c, k) / C(n, k); needs k <= n."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {samples} samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def pass_at(rows: Iterable[Row]) -> dict[str, float]:
    """pass@k for every k up to the most samples of a problem, over the problems with at least k samples."""
    verdicts = list(_verdicts(rows).values())
    most = max((len(problem) for problem in verdicts), default=0)
    return {
        str(k): statistics.fmean(pass_at_k(len(problem), sum(problem), k) for problem in verdicts if len(problem) >= k)
        for k in range(1, most + 1)
    }


def maj_at(rows: Iterable[Row]) -> dict[str, float]:
    """maj@k: the share of problems whose most frequent answer among the first k samples is right.

    For every k up to the most samples of a problem, over the problems with at least k samples. Answers count
    as one if spelled alike; of several equally frequent ones the earliest wins; no answer is no vote.
    """
    by_problem: dict[str, list[Row]] = {}
    for row in rows:
        if row["correct"] is not None:
            by_problem.setdefault(row["id"], []).append(row)
    voted = [[_vote(row) for row in sorted(group, key=lambda row: row["sample"])] for group in by_problem.values()]
    most = max((len(votes) for votes in voted), default=0)
    return {
        str(k): statistics.fmean(_majority(votes[:k]) for votes in voted if len(votes) >= k) for k in range(1, most + 1)
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """One JSON-ready object of everything above and of what the run cost.

    `correct` is the number of right samples, `graded` of samples with a gold answer; seconds are each answer's
    share of the time, which is all of it where it was written alone, and seconds_per_problem adds up the samples of
    a problem; a sample that ended in an error counts as wrong and is counted in `errors`.
    """
    mean, interval, _ = accuracy(rows)
    slm = sum(row["tokens"]["slm"] for row in rows)
    llm = sum(row["tokens"]["llm"] for row in rows)
    busy_ms = sum(_busy_ms(row) for row in rows)
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row["id"]] = seconds.get(row["id"], 0.0) + _busy_ms(row) / 1000
    return {
        "problems": len(seconds),
        "samples": len(rows),
        "graded": sum(row["correct"] is not None for row in rows),
        "correct": sum(row["correct"] is True for row in rows),
        "accuracy": mean,
        "ci95": None if interval is None else list(interval),
        "pass_at": pass_at(rows),
        "maj_at": maj_at(rows),
        "llm_share": llm / (slm + llm) if slm + llm else None,
        "tokens": {"slm": slm, "llm": llm},
        "swaps": {way: sum(row["swaps"][way] for row in rows) for way in ("up", "down")},
        "catch_up_tokens": sum(row["evaluated"][role]["catch_up"] for row in rows for role in ("slm", "llm")),
        "seconds_per_problem": {
            "mean": statistics.fmean(seconds.values()) if seconds else None,
            "median": statistics.median(seconds.values()) if seconds else None,
        },
        "tokens_per_second": (slm + llm) / (busy_ms / 1000) if busy_ms > 0 else None,
        "errors": sum(row["stop"] == "error" for row in rows),
        "stops": dict(sorted(Counter(row["stop"] for row in rows).items())),
    }


def _busy_ms(row: Row) -> float:
    # Answers of version 0.1 have none: they were written one at a time.
    share = row.get("busy_ms")
    return float(share if isinstance(share, int | float) else row["wall_ms"] or 0.0)


def _verdicts(rows: Iterable[Row]) -> dict[str, list[bool]]:
    verdicts: dict[str, list[bool]] = {}
    for row in rows:
        if row["correct"] is not None:
            verdicts.setdefault(row["id"], []).append(bool(row["correct"]))
    return verdicts


def _vote(row: Row) -> tuple[str | None, bool]:
    return (normal_form(row["answer"]) if row["answer"] is not None else None), bool(row["correct"])


def _majority(votes: Sequence[tuple[str | None, bool]]) -> bool:
    # Counter keeps the order of first appearance, and most_common is stable: the earliest wins a tie.
    counts = Counter(answer for answer, _ in votes if answer is not None)
    if not counts:
        return False
    winner = counts.most_common(1)[0][0]
    return next(correct for answer, correct in votes if answer == winner)
