"""What a trajectory shows a router after each evaluation, and what it expects back.

The routing rules themselves are in `rstitch_local.routing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.roles import Role


@dataclass(slots=True)
class Observation:
    """What a router sees: the model that has just been evaluated, and how sure it is of the token at `position`.

    entropy is normalised, top1 a probability, hidden the model's hidden state, float32 of shape (n_embd,), margin the
    likeliest token's probability less the second's, and pending the number of tokens the other model has missed; these
    three for routers that ask for them. token is the likeliest one, in that model's vocabulary.
    """

    role: Role
    position: int
    entropy: float
    top1: float
    hidden: NDArray[np.float32] | None = None
    margin: float | None = None
    pending: int | None = None
    token: int | None = None


class Router(Protocol):
    """Decides who writes.

    Where the SLM was evaluated, `route` says who writes the token at this position; where the LLM was, its
    token is kept, and `route` says who writes the one after. One router serves one trajectory, so it may have a
    state. Where an answer goes on, a new router is shown the old one's observations in their order, without
    hidden states, and without top1 and margin (NaN, None) of an SLM that passed control: a state is made of roles,
    positions and entropies.
    """

    start: Role = Role.SLM
    """Who is evaluated first."""
    hidden: bool = False
    """Whether the SLM's hidden state is wanted in the observations."""
    margin: bool = False
    """Whether the margin is wanted in the observations."""
    pending: bool = False
    """Whether it is wanted how much the other model has missed."""

    def route(self, observation: Observation) -> Role:
        """Who writes next."""
        ...
