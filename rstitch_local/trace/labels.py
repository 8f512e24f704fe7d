"""A trace in words: stop reasons, named metrics, the settings, entropies with their units."""

from __future__ import annotations

from rstitch_local.decoding.roles import Role
from rstitch_local.sanitize import human_seconds, one_line
from rstitch_local.trace.record import Trace

STOP_REASONS = {
    "eog": "finished",
    "stop": "finished at a stop string",
    "length": "truncated: max_tokens or the context limit was reached",
    "interrupted": "interrupted",
    "error": "failed",
}
"""`Trace.stop` in words."""

UNFINISHED = "unfinished"
"""The label of an answer without a stop reason."""


def stop_reason(trace: Trace) -> str:
    """Return why the answer ended, in words, with the error of one that failed."""
    reason = STOP_REASONS.get(trace.stop or "", UNFINISHED)
    return reason if trace.error is None else f"{reason}: {one_line(trace.error, 300)}"


def metrics(trace: Trace) -> dict[str, str]:
    """Return the metrics of an answer by name, formatted, the most important first."""
    slm, llm = trace.tokens[Role.SLM], trace.tokens[Role.LLM]
    shown = {
        "LLM share": f"{trace.llm_share:.1%}".replace("%", " %"),
        "tokens": f"{slm + llm} (SLM {slm}, LLM {llm})",
        "speed": f"{trace.tokens_per_second:.1f} tok/s",
        "swaps": f"{trace.swaps_up} up, {trace.swaps_down} down",
        "catch-up": f"{trace.catch_up_tokens} tokens",
        "time": _duration(trace.wall_ms),
    }
    if trace.catch_up_ms:
        shown["catch-up"] += f" in {_duration(trace.catch_up_ms)}"
    if trace.ttft_ms is not None:
        shown["first token"] = f"after {_duration(trace.ttft_ms)}"
    if trace.resumed_tokens:
        shown["resumed"] = f"{trace.resumed_tokens} tokens of an earlier answer"
    return shown


def settings_of(trace: Trace) -> dict[str, str]:
    """Return the settings of an answer by name, formatted: pair, router, sampling, seed."""
    settings = trace.settings
    shown = {name: str(settings[name]) for name in ("pair", "router") if settings.get(name) is not None}
    sampling = settings.get("sampling")
    if isinstance(sampling, dict):
        shown.update({name: f"{value:g}" for name, value in sampling.items() if isinstance(value, int | float)})
    return {**shown, "seed": str(trace.seed)}


def summary_line(trace: Trace) -> str:
    """Return one line: tokens by model, swaps, catch-up tokens, tokens per second, seconds."""
    slm, llm = trace.tokens.values()
    speed = f"{trace.tokens_per_second:.1f} tok/s · {human_seconds(trace.wall_ms / 1e3)}"
    return (
        f"SLM {slm} + LLM {llm} tokens ({trace.llm_share:.0%} LLM) · {trace.swaps_up} up, {trace.swaps_down} down · "
        f"{trace.catch_up_tokens} catch-up tokens · {speed}"
    )


def entropy_label(trace: Trace, role: Role, entropy: float) -> str:
    """Return a normalized entropy, with nats in parentheses if the size of the vocabulary is recorded."""
    nats = trace.nats(role, entropy)
    return f"{entropy:.4f}" + ("" if nats is None else f" ({nats:.3f} nats)")


def _duration(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
