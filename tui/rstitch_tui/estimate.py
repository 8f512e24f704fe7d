"""Estimates the time the LLM alone would have taken for an answer."""

from __future__ import annotations

from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace

_MIN_DECODED = 8
"""Single tokens the LLM must have decoded before its measured pace is used."""


class LlmAloneEstimator:
    """Estimates with the calibration of the pair, or else with the LLM's measured pace in earlier answers.

    Args:
        latency: the stored cost model of the pair, if there is one.
    """

    def __init__(self, latency: PairLatency | None = None) -> None:
        self._latency = latency
        self._spent = {"prompt": (0, 0.0), "decode": (0, 0.0)}

    def record(self, trace: Trace) -> None:
        """Add the LLM's evaluations of a finished answer to the measured pace."""
        for kind, (tokens, ms) in self._spent.items():
            new_tokens, new_ms = trace.spent(Role.LLM, kind)
            self._spent[kind] = (tokens + new_tokens, ms + new_ms)

    def estimate(self, trace: Trace, length: int = 0) -> float | None:
        """Return the estimated milliseconds; None for an empty answer, one of the LLM alone, or too few measurements.

        Without a calibration, the prompt counts at the LLM's measured prefill pace and each generated token at its
        decode pace.

        Args:
            trace: a finished answer.
            length: tokens of the conversation including the answer; those not evaluated were cached.
        """
        prompt = max(trace.spent(role, "prompt")[0] for role in Role)
        generated = len(trace.steps) - trace.resumed_tokens
        if generated < 1 or trace.llm_share == 1:
            # An answer of the LLM alone is its own measurement.
            return None
        if self._latency is not None:
            cached = max(0, length - prompt - generated)
            return self._latency.alone_ms(Role.LLM, prompt, generated, cached)
        prompts, prompts_ms = self._spent["prompt"]
        decoded, decoded_ms = self._spent["decode"]
        if decoded < _MIN_DECODED:
            return None
        return prompt * prompts_ms / max(1, prompts) + generated * decoded_ms / decoded
