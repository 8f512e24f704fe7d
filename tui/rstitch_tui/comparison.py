"""Compares two answers to the same question: speed, share of the LLM, final answer."""

from __future__ import annotations

from collections.abc import Iterator

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.errors import RStitchError
from rstitch_local.problems import answers
from rstitch_local.problems.notation import normal_form, number
from rstitch_local.routing.spec import tau_of_spec
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace

_LONGEST_ANSWER = 200
_FEW_TOKENS = 64
"""Answers with fewer tokens are compared with a caution."""
_SAME_PACE = 0.05
"""Relative difference below which two paces count as equal; repeated runs of one answer differ as much."""


def final_answer(text: str) -> str:
    """Return the final answer of a text as grading finds it, else the whole text without its reasoning."""
    return answers.final_answer(text) or " ".join(strip_thinking(text).split())


def same_answer(first: str, second: str) -> bool:
    """Whether two final answers are equal up to notation."""
    if first == second:
        return True
    if max(len(first), len(second)) > _LONGEST_ANSWER:
        return False
    value = number(first)
    return normal_form(first) == normal_form(second) or (value is not None and value == number(second))


def verdict(old: Trace, new: Trace) -> str:
    """Describe in one line what the router of the new answer changed."""
    parts = [*_speed(old, new)]
    new_share, old_share = (f"{trace.llm_share:.0%}" for trace in (new, old))
    same = new_share == old_share
    parts.append(f"{new_share} LLM tokens in both" if same else f"{new_share} instead of {old_share} LLM tokens")
    summary = f"{router_label(str(new.settings.get('router', '')))}: {', '.join(parts)}; "
    unfinished = [name for name, trace in (("new", new), ("old", old)) if trace.stop not in ("eog", "stop")]
    if unfinished:
        return f"{summary}unfinished: the {' and the '.join(unfinished)} answer."
    first, second = final_answer(old.text), final_answer(new.text)
    if same_answer(first, second):
        return f"{summary}same final answer ({one_line(first, 30) or 'none'})."
    before, now = (one_line(answer, 30) or "none" for answer in (first, second))
    return f"{summary}different final answer ({before} before, {now} now)."


def _speed(old: Trace, new: Trace) -> Iterator[str]:
    """Yield how the time per token changed."""
    old_ms, new_ms = ms_per_token(old), ms_per_token(new)
    if old_ms is None or new_ms is None:
        return
    ratio = old_ms / new_ms
    shortest = min(len(old.steps), len(new.steps))
    caution = f", measured on only {shortest} tokens" if shortest < _FEW_TOKENS else ""
    if abs(ratio - 1) < _SAME_PACE:
        yield f"same speed per token ({_pace(new_ms)} ms{caution})"
    else:
        change = f"{ratio:.1f}x faster" if ratio > 1 else f"{1 / ratio:.1f}x slower"
        yield f"{change} per token ({_pace(new_ms)} instead of {_pace(old_ms)} ms{caution})"


def generation_ms(trace: Trace) -> float:
    """Return the milliseconds in the models for the new tokens, without the prompt, which may have been cached."""
    return trace.model_ms - sum(trace.spent(role, "prompt")[1] for role in Role)


def ms_per_token(trace: Trace) -> float | None:
    """Return the milliseconds in the models per token, without the prompt.

    None for an empty answer, and for a resumed one, whose pace covers only a part.
    """
    ms = generation_ms(trace)
    return ms / len(trace.steps) if trace.steps and ms and not trace.resumed_tokens else None


def length_and_time(trace: Trace) -> str:
    """Return the number of tokens and the time they took, without the prompt: "60 tokens · 2.1 s"."""
    total = len(trace.steps)
    tokens = (
        f"{total - trace.resumed_tokens:,} new of {total:,} tokens" if trace.resumed_tokens else f"{total:,} tokens"
    )
    ms = generation_ms(trace)
    return f"{tokens} · {f'{ms:,.0f} ms' if ms < 1000 else f'{ms / 1e3:,.1f} s'}"


def router_label(router: str) -> str:
    """Return a short name of a router spec: "tau 0.02" for the entropy router."""
    tau = tau_of(router) if router.startswith("entropy") else None
    return one_line(router, 30) if tau is None else f"tau {tau:g}"


def tau_of(router: str) -> float | None:
    """Return the threshold of a router spec; None if it has none or is invalid."""
    try:
        return tau_of_spec(router)
    except RStitchError:
        return None


def _pace(ms: float) -> str:
    return f"{ms:.3g}" if ms < 100 else f"{ms:,.0f}"
