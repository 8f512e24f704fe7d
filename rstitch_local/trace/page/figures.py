"""The figures of an answer in words, for people who look at it later.

Knows Trace; nothing of files or formats.
"""

from __future__ import annotations

from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace

STOPS = {
    "eog": "ended by the model",
    "length": "cut off: the budget or the context is used up",
    "interrupted": "stopped",
    "error": "failed",
}
"""Why an answer ended."""


def figures(trace: Trace) -> dict[str, str]:
    """Names and figures, the most telling first."""
    slm, llm = trace.tokens[Role.SLM], trace.tokens[Role.LLM]
    shown = {
        "LLM share": f"{trace.llm_share:.1%}".replace("%", " %"),
        "tokens": f"{slm + llm} (SLM {slm}, LLM {llm})",
        "speed": f"{trace.tokens_per_second:.1f} tok/s",
        "swaps": f"{trace.swaps_up} up, {trace.swaps_down} down",
        "re-evaluated": f"{trace.catch_up_tokens} tokens",
        "time": _seconds(trace.wall_ms),
    }
    if trace.catch_up_ms:
        shown["re-evaluated"] += f" in {_seconds(trace.catch_up_ms)}"
    if trace.ttft_ms is not None:
        shown["first token"] = f"after {_seconds(trace.ttft_ms)}"
    if trace.resumed_tokens:
        shown["taken over"] = f"{trace.resumed_tokens} tokens of an earlier answer"
    return shown


def circumstances(trace: Trace) -> dict[str, str]:
    """What an answer was made with: pair, router, sampling, seed."""
    settings = trace.settings
    shown = {name: str(settings[name]) for name in ("pair", "router") if settings.get(name) is not None}
    sampling = settings.get("sampling")
    if isinstance(sampling, dict):
        shown.update({name: f"{value:g}" for name, value in sampling.items() if isinstance(value, int | float)})
    return {**shown, "seed": str(trace.seed)}


def _seconds(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
