"""The routing rules: which model generates the next token, each rule a small class with one method.

Knows what a router observes (`decoding.router.Observation`); nothing of models, caches or text, nor of router specs
(routing/spec.py).
"""

from __future__ import annotations

from collections import deque

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import uniform


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


class FixedRouter(Router):
    """One model writes everything; the other one is never evaluated."""

    def __init__(self, role: Role) -> None:
        self.start = role

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        """Always the same."""
        return self.start
