"""Metrics of a run: accuracy with confidence interval, pass@k, maj@k, tokens, swaps and time.

Pure functions of the lines of an answers file.
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
    """Return the 95 % Wilson score interval of a share observed in `trials` trials; (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    z2 = Z95 * Z95
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    # For shares of 0 and 1 one bound equals the share; rounding must not move it past the share.
    low = 0.0 if share <= 0 else min(max(center - half, 0.0), share)
    high = 1.0 if share >= 1 else max(min(center + half, 1.0), share)
    return low, high


def accuracy(rows: Iterable[Row]) -> tuple[float | None, tuple[float, float] | None, int]:
    """Return the accuracy, its 95 % confidence interval and the number of graded problems.

    The accuracy is the mean over problems of the share of correct samples: samples of one problem are not independent.
    The interval is Wilson's with the effective number of trials p(1-p) / variance of the mean, which equals the number
    of problems if each has one sample, and never exceeds the number of samples. Accuracy and interval are None if
    nothing was graded.
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
    """Return the unbiased estimate of pass@k, 1 - C(n-c, k) / C(n, k), for n samples of which c are correct.

    Raises:
        ValueError: k is less than 1 or greater than n.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {samples} samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def pass_at(rows: Iterable[Row]) -> dict[str, float]:
    """Return pass@k for k from 1 to the largest number of samples, averaged over problems with at least k samples."""
    verdicts = list(_verdicts(rows).values())
    most = max((len(problem) for problem in verdicts), default=0)
    return {
        str(k): statistics.fmean(pass_at_k(len(problem), sum(problem), k) for problem in verdicts if len(problem) >= k)
        for k in range(1, most + 1)
    }


def maj_at(rows: Iterable[Row]) -> dict[str, float]:
    """Return maj@k: the share of problems whose most frequent answer among the first k samples is correct.

    For k from 1 to the largest number of samples, over problems with at least k samples. Answers are equal if their
    normal forms are; the earliest of equally frequent answers wins; a sample without an answer has no vote.
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
    """Return the metrics of a run, ready for JSON.

    Returns:
        problems, samples: their numbers.
        graded, correct: samples with a gold answer, and those of them that are correct.
        accuracy, ci95, pass_at, maj_at: as returned by `accuracy`, `pass_at` and `maj_at`; None or empty without gold
            answers.
        llm_share, tokens, swaps, catch_up_tokens: sums over all samples.
        seconds_per_problem: mean and median of the time of all samples of a problem. With concurrent answers each
            answer counts with its share of the time.
        tokens_per_second: of all answers together.
        errors: samples that ended in an error; they count as wrong.
        stops: number of samples by stop reason.
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
        "swaps": {name: sum(row["swaps"][name] for row in rows) for name in ("up", "down")},
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
    # Absent in early answers of version 0.1, which were generated one at a time.
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
    # Counter keeps the order of insertion and most_common is stable, so the earliest answer wins a tie.
    counts = Counter(answer for answer, _ in votes if answer is not None)
    if not counts:
        return False
    winner = counts.most_common(1)[0][0]
    return next(correct for answer, correct in votes if answer == winner)
