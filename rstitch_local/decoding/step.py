"""The record of one kept token."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch_local.decoding.roles import Role


@dataclass(slots=True)
class Step:
    """One token that was kept.

    position: index in the answer, from 0.
    role: who wrote it; token: its id in that model's vocabulary.
    text: the whole characters completed by it, often one word, sometimes none.
    entropy: of the writer's distribution, normalised; top1: its likeliest token's probability.
    evaluated_tokens: tokens evaluated, on both models, since the step before.
    ms: time spent in the models on them.
    swap_entropy: the SLM's entropy at this position if control passed to the LLM here (speculative decoding: if the LLM
        rejected the draft or there was none); else None.
    margin: the top-1 probability less the second, where the router asked for it; else None.
    """

    position: int
    role: Role
    token: int
    text: str
    entropy: float
    top1: float
    evaluated_tokens: int
    ms: float
    swap_entropy: float | None = None
    margin: float | None = None
