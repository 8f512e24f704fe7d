"""Who writes the next token: the routing rules, each a small object with one method.

Knows what a router may look at (an `Observation`); nothing of models, caches or text, nor of how a router is
spelled (router_spec.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.sampling import uniform


class Role(StrEnum):
    """The two models of a pair: the small one that writes and the large one that helps."""

    SLM = "slm"
    LLM = "llm"


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


class EntropyRouter(Router):
    """Algorithm 1: the LLM writes where entropy is above tau, the SLM where it is at most tau.

    `tau` may be changed while a trajectory runs; the next observation goes by the new one. Rules that hold
    something else of the entropies against one tau are its subclasses.
    """

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def route(self, observation: Observation) -> Role:
        """Strictly above goes up, anything else goes down: one tau both ways."""
        return Role.LLM if observation.entropy > self.tau else Role.SLM


class WindowRouter(EntropyRouter):
    """The mean entropy of the last `length` positions, this one included, against tau, both ways.

    The paper's figure 3c finds that mean raised before harmful tokens where the last entropy alone is not. A
    position has one entropy, that of the model evaluated there last: where the LLM takes a position over, its
    entropy takes the SLM's place in the window. Near the beginning the mean is over the positions there are.
    """

    def __init__(self, length: int, tau: float) -> None:
        super().__init__(tau)
        self._window: deque[float] = deque(maxlen=length)
        self._position = -1

    def route(self, observation: Observation) -> Role:
        """Above tau goes up, anything else goes down."""
        if observation.position == self._position:
            self._window.pop()
        self._position = observation.position
        self._window.append(observation.entropy)
        return Role.LLM if sum(self._window) / len(self._window) > self.tau else Role.SLM


class MomentumRouter(EntropyRouter):
    """An exponential moving average of the entropies, m_t = beta m_(t-1) + (1 - beta) H_t, against tau, both ways.

    m_0 = H_0. As in a window, a position counts once, with the entropy of the model evaluated there last.
    """

    def __init__(self, beta: float, tau: float) -> None:
        super().__init__(tau)
        self._beta = beta
        self._position = -1
        self._before: float | None = None
        self._mean: float | None = None

    def route(self, observation: Observation) -> Role:
        """Above tau goes up, anything else goes down."""
        if observation.position != self._position:
            self._position, self._before = observation.position, self._mean
        entropy = observation.entropy
        mean = entropy if self._before is None else self._beta * self._before + (1.0 - self._beta) * entropy
        self._mean = mean
        return Role.LLM if mean > self.tau else Role.SLM


class StayRouter(EntropyRouter):
    """Algorithm 1, except that the LLM, once called, writes `shortest` tokens at least."""

    def __init__(self, shortest: int, tau: float) -> None:
        super().__init__(tau)
        self._shortest = shortest
        self._written = 0

    def route(self, observation: Observation) -> Role:
        """By entropy, once the LLM has written enough."""
        self._written = self._written + 1 if observation.role is Role.LLM else 0
        return Role.LLM if 0 < self._written < self._shortest else super().route(observation)


class OneTokenRouter(EntropyRouter):
    """The LLM writes a single token wherever the SLM's entropy is above tau, however unsure it is itself."""

    def route(self, observation: Observation) -> Role:
        """Up by entropy, down always."""
        return Role.SLM if observation.role is Role.LLM else super().route(observation)


class HysteresisRouter(Router):
    """Up where the SLM's entropy is above `high`, down where the LLM's is at most `low`, which is no larger.

    What lies between leaves control with whom it is.
    """

    def __init__(self, high: float, low: float) -> None:
        self._above = {Role.SLM: high, Role.LLM: low}

    def route(self, observation: Observation) -> Role:
        """Each model has a threshold of its own."""
        return Role.LLM if observation.entropy > self._above[observation.role] else Role.SLM


class ConfidenceRouter(Router):
    """The rule of the paper's first version: the LLM writes where the top-1 probability is below a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Below the threshold goes up, anything else goes down."""
        return Role.LLM if observation.top1 < self.threshold else Role.SLM


class MarginRouter(Router):
    """The LLM writes where the likeliest token is ahead of the second by less than a threshold."""

    margin = True

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Below the threshold goes up, anything else goes down, as does what another router left unmeasured."""
        return Role.LLM if observation.margin is not None and observation.margin < self._threshold else Role.SLM


class RandomRouter(Router):
    """The control: each position is the LLM's with probability `share`, by a coin of (seed, position)."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        # Not the sampler's own noise: who writes must not depend on what is drawn.
        self._seed = ~seed

    def route(self, observation: Observation) -> Role:
        """Look at the coin of the position that is to be given away."""
        position = observation.position + (observation.role is Role.LLM)
        return Role.LLM if uniform(self._seed, position) < self.share else Role.SLM


class SpeculativeRouter(Router):
    """Not a rule for who writes but another way to decode: decoding/speculative.py goes by it (Leviathan et al., 2023).

    The SLM drafts up to `length` tokens, and none where its top-1 probability is below `threshold`.
    """

    def __init__(self, length: int, threshold: float = 0.0) -> None:
        self.length = length
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """The LLM where the SLM is not to draft a token."""
        unsure = observation.role is Role.SLM and observation.top1 < self.threshold
        return Role.LLM if unsure else Role.SLM


class FixedRouter(Router):
    """One model writes everything; the other one is never evaluated."""

    def __init__(self, role: Role) -> None:
        self.start = role

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        """Always the same."""
        return self.start
