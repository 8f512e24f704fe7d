"""The arguments that all kinds of trajectories share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.decoding.sampling import Sampler
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryConfig:
    """One answer to generate.

    Attributes:
        prompt: the rendered conversation as token ids of each model, not empty.
        bridge: converts tokens, or text, between the two vocabularies.
        router: decides which model generates the next token.
        sampler: draws the tokens.
        max_tokens: most tokens of the answer, resumed ones included.
        capacity: tokens that each model's KV cache can hold.
        resume_steps: steps of an earlier answer to resume from. Positions, control and noise continue as if the
            earlier answer had never ended.
        stop: strings that end the answer.
    """

    prompt: Mapping[Role, Sequence[int]]
    bridge: Bridge | ForeignBridge
    router: Router
    sampler: Sampler
    max_tokens: int
    capacity: Mapping[Role, int]
    resume_steps: Sequence[Step] = ()
    stop: Sequence[str] = ()
