"""A comparison in plain words: who wins, by how much beyond noise, and why stitching is slower where it is.

Knows figures; nothing of files or screens. What it says is safe for a terminal but for the texts of errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rstitch_local.problems.metrics import Row
from rstitch_local.study.figures import BASE, PARTS, RouterFigures, paired_ms
from rstitch_local.study.statistics import Interval, ratio_interval, total_ratio

SIGNIFICANT = 0.05
BEARABLE_LOSS = 0.01
"""A router may lose this share of right answers, one point, and still count as good as the LLM alone."""
PART_NAMES = {
    "slm_decode": "SLM decode",
    "llm_decode": "LLM decode",
    "catch_up": "catch-up",
    "prompt": "prompt",
    "rest": "rest",
}
_FEW_PROBLEMS = 20
_MANY_ROUTERS = 5


def plain_words(figures: Sequence[RouterFigures], rows: Mapping[str, Sequence[Row]], split: int = 0) -> list[str]:
    """Paragraphs for the beginning of a report.

    Args:
        figures: of all routers, the LLM alone among them.
        rows: by router the lines the figures were made of.
        split: problems whose answers come from several sittings.
    """
    base = next(own for own in figures if own.router == BASE)
    if base.seconds is None:
        return ["The LLM alone finished no answer without an error, so nothing can be compared with it."]
    timed = sorted((own for own in figures if own.speed_up is not None), key=lambda own: own.seconds or math.inf)
    good = [own for own in timed if as_accurate(own)]
    paragraphs = [_winner(good, base, rows)]
    faster = timed[: timed.index(good[0])]
    for poor, what in ((False, "with a loss that may be noise"), (True, "less accurate beyond noise")):
        named = "; ".join(
            f"{own.router} ({own.speed_up:.2f}x, loses {_points(own.loss)}, p {p_text(own.p or 0.0)})"
            for own in faster
            if less_accurate(own) is poor
        )
        if named:
            paragraphs.append(f"Faster, but {what}: {named}.")
    paragraphs += _why(good, timed, base)
    paragraphs += _cautions(figures, base, split)
    return paragraphs


def as_accurate(own: RouterFigures) -> bool:
    """Whether it was seen to lose at most `BEARABLE_LOSS` against the LLM alone, as far as anything was graded."""
    # A hair more, for shares like 0.29 - 0.28.
    return own.loss is None or own.loss <= BEARABLE_LOSS + 1e-9


def less_accurate(own: RouterFigures) -> bool:
    """Whether it gets fewer problems right than the LLM alone, by McNemar's test at 5 %."""
    return own.p is not None and own.p < SIGNIFICANT and own.worse > own.better


def stitched(own: RouterFigures) -> bool:
    """Whether both models wrote."""
    return bool(own.slm_tokens) and bool(own.llm_tokens)


def p_text(p: float) -> str:
    """A p-value with as many digits as it is worth, with its sign: "= 0.12" or "< 0.0001"."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"


def _winner(good: Sequence[RouterFigures], base: RouterFigures, rows: Mapping[str, Sequence[Row]]) -> str:
    first = good[0]
    right = "" if base.accuracy is None else f" and loses at most {_points(BEARABLE_LOSS)}"
    if first is base:
        others = ""
        if len(good) > 1:
            others = f" The fastest of the others, {good[1].router}, has a speed-up of {_speed_up(good[1])}."
        return f"The LLM alone wins: nothing is faster{right}.{others}"
    words = [f"{first.router} wins: its speed-up over the LLM alone is {_speed_up(first)}."]
    words.append(_accuracy(first, base))
    second = next((own for own in good[1:] if own is not base), None)
    if second is not None:
        # The same problems under both, as for the speed-up.
        theirs, ours = paired_ms(rows[second.router], rows[first.router])
        ratio, interval = total_ratio(theirs, ours), ratio_interval(theirs, ours)
        if ratio is not None:
            noise = "" if interval is None else f" ({_span(interval)}), {_beyond(interval)}"
            words.append(f"The next, {second.router}, takes {ratio:.2f} times as long{noise}.")
    return " ".join(words)


def _accuracy(own: RouterFigures, base: RouterFigures) -> str:
    if own.accuracy is None or base.accuracy is None:
        return "No problem has a gold answer, so nothing is known of how right it is."
    words = (
        f"It has {own.accuracy:.1%} right, the LLM alone {base.accuracy:.1%}: it is better on {own.better} "
        f"{_problems(own.better)} and worse on {own.worse} (McNemar p {p_text(own.p or 0.0)}), "
    )
    if own.p is not None and own.p < SIGNIFICANT:
        return words + "a gain beyond noise."
    words += "no difference beyond noise."
    if own.loss_interval is not None and own.loss_interval[1] > 0:
        words += f" A true loss of up to {_points(own.loss_interval[1])} cannot be ruled out."
    return words


def _why(good: Sequence[RouterFigures], timed: Sequence[RouterFigures], base: RouterFigures) -> list[str]:
    """Where the time of the best stitched router goes, and which others are slower and mainly by what."""
    mixed = [own for own in [*good, *timed] if stitched(own)]
    if not mixed:
        return []
    paragraphs = [account(mixed[0], base)]
    slower = [own for own in timed if stitched(own) and own is not mixed[0] and (own.speed_up or 0) < 1]
    if slower:
        named = "; ".join(f"{own.router} ({own.speed_up:.2f}x, mainly by {_main_cost(own, base)})" for own in slower)
        paragraphs.append(f"Slower than the LLM alone are also: {named}.")
    return paragraphs


def account(own: RouterFigures, base: RouterFigures) -> str:
    """Why a stitched router is faster or slower than the LLM alone: what it saves and what it pays, a problem."""
    changes = {name: own.parts[name] - base.parts[name] for name in PARTS}
    saved = -changes["llm_decode"]
    paid = sorted(
        ((value, name) for name, value in changes.items() if name != "llm_decode" and value > 0), reverse=True
    )
    pace = "slower" if (own.speed_up or 0) < 1 else "faster"
    words = [f"Why {own.router} is {pace} than the LLM alone: a problem, it"]
    words.append(
        f"saves {seconds_text(saved)} of LLM decode" if saved >= 0 else f"needs {seconds_text(-saved)} more LLM decode"
    )
    if paid:
        listed = ", ".join(f"{seconds_text(value)} of {PART_NAMES[name]}" for value, name in paid)
        words.append(f"and pays {listed}")
    text = " ".join(words) + "."
    costs = {**base.ms_per_token, **own.ms_per_token}
    slm, llm, catch_up = (costs.get(key) for key in ("slm decode", "llm decode", "llm catch_up"))
    if slm and llm:
        text += (
            f" A token decoded by the LLM costs {llm / slm:.1f} times one by the SLM ({llm:.3g} against {slm:.3g} ms)"
        )
        text += f", one the LLM catches up on {catch_up:.3g} ms." if catch_up else "."
    whole = sum(own.parts.values())
    if whole > 0:
        text += f" Catch-up takes {own.parts['catch_up'] / whole:.0%} of its time"
    if own.tokens and base.tokens:
        longer = round(own.tokens / base.tokens * 100) - 100
        length = f"{abs(longer)}% {'longer than' if longer > 0 else 'shorter than'}" if longer else "as long as"
        text += f"; its answers are {length} the LLM's"
    return text + "."


def _main_cost(own: RouterFigures, base: RouterFigures) -> str:
    return PART_NAMES[max(PARTS, key=lambda name: own.parts[name] - base.parts[name])]


def _cautions(figures: Sequence[RouterFigures], base: RouterFigures, split: int) -> list[str]:
    cautions = []
    if base.problems < _FEW_PROBLEMS:
        cautions.append(
            f"Only {base.problems} {_problems(base.problems)}: too few to tell routers apart, and "
            + (
                "one problem has no interval of its speed."
                if base.problems == 1
                else "intervals of the speed are too narrow."
            )
        )
    if len(figures) > _MANY_ROUTERS:
        cautions.append(
            f"{len(figures) - 1} routers are compared with the LLM: one p below 0.05 among so many is no proof."
        )
    if split:
        cautions.append(
            f"{split} of the {base.problems} problems were answered by some routers in another sitting than by others; "
            "a machine that changed its speed in between is not evened out for them."
        )
    failed = [own for own in figures if own.failures]
    if failed:
        named = ", ".join(f"{own.router} {len(own.failures)}" for own in failed)
        cautions.append(
            f"Answers that ended in an error (they count as wrong, and not for times): {named}. "
            "The same command tries them again."
        )
    return cautions


def _speed_up(own: RouterFigures) -> str:
    if own.speed_up_interval is None:
        return f"{own.speed_up:.2f}x"
    return f"{own.speed_up:.2f}x (95 % interval {_span(own.speed_up_interval)}), {_beyond(own.speed_up_interval)}"


def _beyond(interval: Interval) -> str:
    return "which may be noise" if interval[0] <= 1 <= interval[1] else "beyond noise"


def _span(interval: Interval) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _points(share: float | None) -> str:
    return "nothing" if share is None else f"{share * 100:.3g} point{'' if share == 0.01 else 's'}"


def _problems(count: int) -> str:
    return "problem" if count == 1 else "problems"


def seconds_text(seconds: float) -> str:
    """A time with three digits: 12.3 s, 45.6 ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
