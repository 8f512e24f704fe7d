"""Findings of a comparison as sentences: the best router, what is significant, and what the time is spent on.

Reads metrics only. The sentences contain no untrusted text except router specs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rstitch_local.problems.metrics import Row
from rstitch_local.study.formats import p_value, points, seconds, span
from rstitch_local.study.router_metrics import BASELINE, TIME_PARTS, RouterMetrics, paired_ms
from rstitch_local.study.statistics import Interval, ratio_interval, total_ratio

SIGNIFICANCE = 0.05
TOLERATED_LOSS = 0.01
"""Loss of accuracy against the LLM alone up to which a router counts as equally accurate: 1 percentage point."""
PART_NAMES = {
    "slm_decode": "SLM decode",
    "llm_decode": "LLM decode",
    "catch_up": "catch-up",
    "prompt": "prompt",
    "rest": "rest",
}
_FEW_PROBLEMS = 20
_MANY_ROUTERS = 5


def bench_findings(
    results: Sequence[RouterMetrics], rows: Mapping[str, Sequence[Row]], split_problems: int = 0
) -> list[str]:
    """Return the findings, one paragraph each, for the top of a report.

    Args:
        results: metrics of all routers, including the LLM alone.
        rows: by router the rows of answers.jsonl the metrics were computed from.
        split_problems: number of problems whose answers come from several sessions.
    """
    baseline = next(result for result in results if result.router == BASELINE)
    if baseline.seconds is None:
        return ["No answer of the LLM alone ended without an error, so there is nothing to compare with."]
    timed = sorted((r for r in results if r.speed_up is not None), key=lambda r: r.seconds or math.inf)
    accurate = [result for result in timed if is_as_accurate(result)]
    paragraphs = [_best(accurate, baseline, rows)]
    faster = timed[: timed.index(accurate[0])]
    descriptions = {False: "with a loss that is not significant", True: "significantly less accurate"}
    for significant, description in descriptions.items():
        listed = "; ".join(
            f"{result.router} ({result.speed_up:.2f}x, loses {points(result.loss)}, p {p_value(result.p or 0.0)})"
            for result in faster
            if is_less_accurate(result) is significant
        )
        if listed:
            paragraphs.append(f"Faster, but {description}: {listed}.")
    return [*paragraphs, *_time_paragraphs(accurate, timed, baseline), *_warnings(results, baseline, split_problems)]


def is_as_accurate(result: RouterMetrics) -> bool:
    """Return whether the observed loss is at most `TOLERATED_LOSS`, or unknown for lack of gold answers."""
    # Differences such as 0.29 - 0.28 exceed 0.01 by rounding.
    return result.loss is None or result.loss <= TOLERATED_LOSS + 1e-9


def is_less_accurate(result: RouterMetrics) -> bool:
    """Return whether it has significantly fewer right answers than the LLM alone (McNemar's test at 5 %)."""
    return result.p is not None and result.p < SIGNIFICANCE and result.worse > result.better


def uses_both_models(result: RouterMetrics) -> bool:
    """Return whether both models generated tokens."""
    return bool(result.slm_tokens) and bool(result.llm_tokens)


def _best(accurate: Sequence[RouterMetrics], baseline: RouterMetrics, rows: Mapping[str, Sequence[Row]]) -> str:
    best = accurate[0]
    limit = "" if baseline.accuracy is None else f" with a loss of at most {points(TOLERATED_LOSS)}"
    if best is baseline:
        text = f"Best: the LLM alone. No router{limit} is faster."
        if len(accurate) > 1:
            text += f" The fastest of them, {accurate[1].router}, has a speed-up of {_speed_up(accurate[1])}."
        return text
    sentences = [
        f"Best: {best.router}, the fastest router{limit}. Its speed-up over the LLM alone is {_speed_up(best)}.",
        _accuracy(best, baseline),
    ]
    second = next((result for result in accurate[1:] if result is not baseline), None)
    if second is not None:
        # Over the problems both finished, as for the speed-up.
        second_ms, best_ms = paired_ms(rows[second.router], rows[best.router])
        ratio, interval = total_ratio(second_ms, best_ms), ratio_interval(second_ms, best_ms)
        if ratio is not None:
            detail = "" if interval is None else f" ({span(interval)}), {_significance(interval)}"
            sentences.append(f"The second fastest, {second.router}, takes {ratio:.2f} times as long{detail}.")
    return " ".join(sentences)


def _accuracy(result: RouterMetrics, baseline: RouterMetrics) -> str:
    if result.accuracy is None or baseline.accuracy is None:
        return "No problem has a gold answer, so accuracy is unknown."
    text = (
        f"Its accuracy is {result.accuracy:.1%}, that of the LLM alone {baseline.accuracy:.1%}: better on "
        f"{result.better} {_problems(result.better)}, worse on {result.worse} (McNemar p {p_value(result.p or 0.0)}), "
    )
    if result.p is not None and result.p < SIGNIFICANCE:
        return text + "a significant gain."
    text += "no significant difference."
    if result.loss_interval is not None and result.loss_interval[1] > 0:
        text += f" The data do not rule out a true loss of up to {points(result.loss_interval[1])}."
    return text


def _time_paragraphs(
    accurate: Sequence[RouterMetrics], timed: Sequence[RouterMetrics], baseline: RouterMetrics
) -> list[str]:
    mixed = [result for result in [*accurate, *timed] if uses_both_models(result)]
    if not mixed:
        return []
    paragraphs = [time_breakdown(mixed[0], baseline)]
    slower = [r for r in timed if uses_both_models(r) and r is not mixed[0] and (r.speed_up or 0) < 1]
    if slower:
        listed = "; ".join(f"{r.router} ({r.speed_up:.2f}x, mainly {_largest_increase(r, baseline)})" for r in slower)
        paragraphs.append(f"Also slower than the LLM alone: {listed}.")
    return paragraphs


def time_breakdown(result: RouterMetrics, baseline: RouterMetrics) -> str:
    """Explain why a router that uses both models is faster or slower than the LLM alone, by part of the time."""
    changes = {name: result.parts[name] - baseline.parts[name] for name in TIME_PARTS}
    saved = -changes["llm_decode"]
    increases = sorted(
        ((value, name) for name, value in changes.items() if name != "llm_decode" and value > 0), reverse=True
    )
    direction = "slower" if (result.speed_up or 0) < 1 else "faster"
    text = f"Why {result.router} is {direction} than the LLM alone: per problem, it "
    text += f"saves {seconds(saved)} of LLM decode" if saved >= 0 else f"adds {seconds(-saved)} of LLM decode"
    if increases:
        listed = ", ".join(f"{seconds(value)} of {PART_NAMES[name]}" for value, name in increases)
        text += f" and adds {listed}"
    text += "."
    costs = {**baseline.ms_per_token, **result.ms_per_token}
    slm, llm, catch_up = (costs.get(key) for key in ("slm decode", "llm decode", "llm catch_up"))
    if slm and llm:
        text += f" Decoding a token takes {llm:.3g} ms on the LLM, {slm:.3g} ms on the SLM (ratio {llm / slm:.1f})"
        text += f"; a catch-up token takes {catch_up:.3g} ms on the LLM." if catch_up else "."
    total = sum(result.parts.values())
    if total > 0:
        text += f" Catch-up is {result.parts['catch_up'] / total:.0%} of its time."
    if result.tokens and baseline.tokens:
        percent = round(result.tokens / baseline.tokens * 100) - 100
        length = f"{abs(percent)}% {'longer than' if percent > 0 else 'shorter than'}" if percent else "as long as"
        text += f" Its answers are {length} those of the LLM alone."
    return text


def _largest_increase(result: RouterMetrics, baseline: RouterMetrics) -> str:
    return PART_NAMES[max(TIME_PARTS, key=lambda name: result.parts[name] - baseline.parts[name])]


def _warnings(results: Sequence[RouterMetrics], baseline: RouterMetrics, split_problems: int) -> list[str]:
    warnings = []
    if baseline.problems < _FEW_PROBLEMS:
        reason = (
            "a single problem gives no speed-up interval"
            if baseline.problems == 1
            else "speed-up intervals are too narrow"
        )
        warnings.append(
            f"Only {baseline.problems} {_problems(baseline.problems)}: too few to distinguish routers, and {reason}."
        )
    if len(results) > _MANY_ROUTERS:
        warnings.append(
            f"{len(results) - 1} routers are compared with the LLM alone: with so many tests, a single p below 0.05 is "
            "weak evidence."
        )
    if split_problems:
        warnings.append(
            f"For {split_problems} of the {baseline.problems} problems, routers answered in different sessions; if the "
            "machine changed its speed in between, their times are not comparable."
        )
    failed = [result for result in results if result.failures]
    if failed:
        listed = ", ".join(f"{result.router} {len(result.failures)}" for result in failed)
        warnings.append(
            f"Answers that ended in an error (counted as wrong, excluded from times): {listed}. "
            "Run the same command again to retry them."
        )
    return warnings


def _speed_up(result: RouterMetrics) -> str:
    if result.speed_up_interval is None:
        return f"{result.speed_up:.2f}x"
    interval = result.speed_up_interval
    return f"{result.speed_up:.2f}x (95 % interval {span(interval)}), {_significance(interval)}"


def _significance(interval: Interval) -> str:
    return "not significant" if interval[0] <= 1 <= interval[1] else "significant"


def _problems(count: int) -> str:
    return "problem" if count == 1 else "problems"
