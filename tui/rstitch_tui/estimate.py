"""What an answer would have cost had the LLM written it alone: by a calibration, or by what its tokens cost today.

Knows traces and the cost model; nothing of widgets or models.
"""

from __future__ import annotations

from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace

_ENOUGH = 8
"""Tokens the LLM must have decoded one at a time before its pace is believed."""


class LlmAlone:
    """Estimates from what `rstitch calibrate` measured, or else from what the LLM's tokens cost in answers before.

    Args:
        latency: the cost model of the loaded pair, where one is stored.
    """

    def __init__(self, latency: PairLatency | None = None) -> None:
        self._latency = latency
        self._spent = {"prompt": (0, 0.0), "decode": (0, 0.0)}

    def learn(self, trace: Trace) -> None:
        """Add what the LLM evaluated for an answer that is at its end."""
        for kind, (tokens, ms) in self._spent.items():
            more, more_ms = trace.spent(Role.LLM, kind)
            self._spent[kind] = (tokens + more, ms + more_ms)

    def of(self, trace: Trace, length: int = 0) -> float | None:
        """Milliseconds the LLM alone would have taken; None where nothing was written, or too little seen of it.

        Without a calibration the prompt counts at the pace of the LLM's prompts, every token written at the pace of
        its single tokens.

        Args:
            trace: an answer at its end.
            length: tokens of the whole conversation with it; what was not evaluated of them was cached before.
        """
        prompt = max(trace.spent(role, "prompt")[0] for role in Role)
        written = len(trace.steps) - trace.resumed_tokens
        if written < 1:
            return None
        if self._latency is not None:
            held = max(0, length - prompt - written)
            return self._latency.alone_ms(Role.LLM, prompt, written, held)
        prompts, prompts_ms = self._spent["prompt"]
        decoded, decoded_ms = self._spent["decode"]
        if decoded < _ENOUGH:
            return None
        return prompt * prompts_ms / max(1, prompts) + written * decoded_ms / decoded
