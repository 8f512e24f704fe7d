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
    caught_up: tokens evaluated, on both models, since the step before.
    ms: time spent in the models on them.
    unsure: the SLM's entropy at this position where it passed control to the LLM here (in speculative decoding: where
        the LLM refused its draft, or it had none); else None.
    margin: the top-1 probability less the second, where the router asked for it; else None.
    """

    position: int
    role: Role
    token: int
    text: str
    entropy: float
    top1: float
    caught_up: int
    ms: float
    unsure: float | None = None
    margin: float | None = None
