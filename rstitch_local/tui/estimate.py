"""What an answer would have cost had the LLM written it alone, from what its tokens cost on this machine today.

Knows traces; nothing of widgets or models.
"""

from __future__ import annotations

from rstitch_local.decoding.routers import Role
from rstitch_local.engine.trace import Trace

_ENOUGH = 8
"""Tokens the LLM must have decoded one at a time before its pace is believed."""


class LlmAlone:
    """Learns from every answer what the LLM's tokens cost, and estimates from that."""

    def __init__(self) -> None:
        self._spent = {"prompt": (0, 0.0), "decode": (0, 0.0)}

    def learn(self, trace: Trace) -> None:
        """Add what the LLM evaluated for an answer that is at its end."""
        for kind, (tokens, ms) in self._spent.items():
            more, more_ms = trace.spent(Role.LLM, kind)
            self._spent[kind] = (tokens + more, ms + more_ms)

    def of(self, trace: Trace) -> float | None:
        """Milliseconds the LLM alone would have taken; None before enough was seen of it.

        The prompt at the pace of its prompts, every token written at the pace of its single tokens.
        """
        prompts, prompts_ms = self._spent["prompt"]
        decoded, decoded_ms = self._spent["decode"]
        if decoded < _ENOUGH:
            return None
        prompt = max(trace.spent(role, "prompt")[0] for role in Role)
        written = len(trace.steps) - trace.kept
        return prompt * prompts_ms / max(1, prompts) + written * decoded_ms / decoded
