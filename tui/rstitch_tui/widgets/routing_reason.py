"""Sentences that explain which model generated a token.

They use the trace alone. Independent of widgets and models.
"""

from __future__ import annotations

from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.candidates import format_entropy


def tau_at(trace: Trace, index: int) -> float | None:
    """Return the tau in effect at a token; None if the router had none or it was not recorded."""
    tau: float | None = trace.settings.get("tau")
    if tau is None or index < trace.resumed_tokens:
        return None
    return next((new for start, new in reversed(trace.taus) if start <= index), tau)


def is_chosen_by_hand(trace: Trace, index: int) -> bool:
    """Return whether the user put the token there; for a generated one at least one token was evaluated."""
    return index < trace.resumed_tokens and trace.steps[index].evaluated_tokens == 0


def routing_reason(trace: Trace, index: int) -> str:
    """Return one to three sentences about the routing of a token."""
    if is_chosen_by_hand(trace, index):
        return "This token was chosen by hand; the answer continues from it."
    spec = str(trace.settings.get("router", ""))
    if spec in ("slm", "llm"):
        return f"The router is {spec}: the {spec.upper()} generates every token."
    if spec.startswith("entropy"):
        return _entropy_reason(trace, index)
    if spec.startswith("spec:"):
        return _speculative_reason(trace, index)
    return _other_reason(trace, index, spec)


def _entropy_reason(trace: Trace, index: int) -> str:
    step, tau = trace.steps[index], tau_at(trace, index)
    above, below = ("", "") if tau is None else (f", above tau {tau:g}", f", not above tau {tau:g}")
    if step.role is Role.SLM:
        return f"The SLM's entropy was {format_entropy(step.entropy)}{below}: the SLM generated this token."
    if step.swap_entropy is not None:
        reason = f"The SLM's entropy was {format_entropy(step.swap_entropy)}{above}: swap to the LLM."
    else:
        reason = "The LLM kept control: its entropy at the token before was too high for a swap."
    if index + 1 == len(trace.steps):
        return reason
    entropy = format_entropy(step.entropy)
    if _is_followed_by_the_slm(trace, index):
        return f"{reason} The LLM's entropy was {entropy}: swap to the SLM."
    return f"{reason} The LLM's entropy was {entropy}, too high for a swap: it keeps control."


def _speculative_reason(trace: Trace, index: int) -> str:
    step = trace.steps[index]
    if step.role is Role.SLM:
        return "The SLM drafted this token and the LLM accepted it."
    if step.swap_entropy is None:
        return "The LLM accepted the whole draft and generated this token after it."
    entropy = format_entropy(step.swap_entropy)
    return f"The LLM rejected a drafted token and generated this one; the SLM's entropy was {entropy}."


def _other_reason(trace: Trace, index: int, spec: str) -> str:
    """Explain rules that depend on more than what the trace records."""
    step = trace.steps[index]
    if step.role is Role.SLM:
        return f"The router {spec} chose the SLM."
    if step.swap_entropy is None:
        reason = f"The router {spec} stayed with the LLM."
    else:
        reason = f"The router {spec} chose the LLM; the SLM's entropy was {format_entropy(step.swap_entropy)}."
    return f"{reason} Then swap to the SLM." if _is_followed_by_the_slm(trace, index) else reason


def _is_followed_by_the_slm(trace: Trace, index: int) -> bool:
    """Return whether the SLM was evaluated for the next token, even if the LLM then generated it."""
    following = trace.steps[index + 1 : index + 2]
    return any(step.role is Role.SLM or step.swap_entropy is not None for step in following)
