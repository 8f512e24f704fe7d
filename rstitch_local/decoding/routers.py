"""Who writes the next token: the routing rules, each a small object with one method.

Knows what a router may look at (an `Observation`); nothing of models, caches or text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.sampling import uniform
from rstitch_local.errors import UsageError


class Role(StrEnum):
    """The two models of a pair: the small one that writes and the large one that helps."""

    SLM = "slm"
    LLM = "llm"


@dataclass(slots=True)
class Observation:
    """What a router sees: the model that has just been evaluated, and how sure it is of the token at `position`.

    entropy is normalised, top1 a probability, hidden the model's hidden state, float32 of shape (n_embd,),
    for routers that ask for it.
    """

    role: Role
    position: int
    entropy: float
    top1: float
    hidden: NDArray[np.float32] | None = None


class Router(Protocol):
    """Decides who writes.

    Where the SLM was evaluated, `route` says who writes the token at this position; where the LLM was, its
    token is kept, and `route` says who writes the one after. One router serves one trajectory.
    """

    start: Role
    """Who is evaluated first."""
    hidden: bool
    """Whether the SLM's hidden state is wanted in the observations."""

    def route(self, observation: Observation) -> Role:
        """Who writes next."""
        ...


class EntropyRouter:
    """Algorithm 1: the LLM writes where entropy is above tau, the SLM where it is at most tau.

    `tau` may be changed while a trajectory runs; the next observation goes by the new one.
    """

    start = Role.SLM
    hidden = False

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def route(self, observation: Observation) -> Role:
        """Strictly above goes up, anything else goes down: one tau both ways."""
        return Role.LLM if observation.entropy > self.tau else Role.SLM


class ConfidenceRouter:
    """The rule of the paper's first version: the LLM writes where the top-1 probability is below a threshold."""

    start = Role.SLM
    hidden = False

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Below the threshold goes up, anything else goes down."""
        return Role.LLM if observation.top1 < self.threshold else Role.SLM


class RandomRouter:
    """The control: each position is the LLM's with probability `share`, by a coin of (seed, position)."""

    start = Role.SLM
    hidden = False

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        # Not the sampler's own noise: who writes must not depend on what is drawn.
        self._seed = ~seed

    def route(self, observation: Observation) -> Role:
        """Look at the coin of the position that is to be given away."""
        position = observation.position + (observation.role is Role.LLM)
        return Role.LLM if uniform(self._seed, position) < self.share else Role.SLM


class FixedRouter:
    """One model writes everything; the other one is never evaluated."""

    hidden = False

    def __init__(self, role: Role) -> None:
        self.start = role

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        """Always the same."""
        return self.start


DEFAULT_SPEC = "entropy:0.02"
_FORMS = "entropy:TAU, confidence:T, random:P, slm or llm"


def router_from_spec(spec: str, *, seed: int = 0) -> Router:
    """The router a short text names, such as `entropy:0.02`.

    Args:
        spec: one of entropy:TAU, confidence:T, random:P (T and P from 0 to 1), slm, llm; a bare `entropy`
            has tau 0.02.
        seed: for the random router.

    Raises:
        UsageError: no such router, or its number is missing or out of range.
    """
    name, colon, text = spec.strip().partition(":")
    match name:
        case "slm" | "llm" if not colon:
            return FixedRouter(Role(name))
        case "entropy" if not colon:
            return router_from_spec(DEFAULT_SPEC)
        case "entropy":
            return EntropyRouter(_number(spec, text, -math.inf, math.inf))
        case "confidence":
            return ConfidenceRouter(_number(spec, text, 0.0, 1.0))
        case "random":
            return RandomRouter(_number(spec, text, 0.0, 1.0), seed)
    raise UsageError("No such router", f"'{spec}' names no router.", f"Use {_FORMS}.")


def _number(spec: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        wanted = "a number" if math.isinf(low) else f"a number from {low:g} to {high:g}"
        raise UsageError("No such router", f"'{spec}' needs {wanted} after the colon.", f"Use {_FORMS}.")
    return value
