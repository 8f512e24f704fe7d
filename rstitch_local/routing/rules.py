"""The routing rules: which model generates the next token. Each rule is a small class with one method.

Depends on `decoding.router.Observation` only. Router specs are in routing/forms.py and routing/spec.py.
"""

from __future__ import annotations

from collections import deque

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import uniform


class EntropyRouter(Router):
    """Algorithm 1 of R-Stitch: the LLM if the entropy is above tau, else the SLM.

    `tau` may be changed while an answer is generated; it applies from the next observation on. Rules that compare
    another statistic of the entropies with one tau are subclasses.

    Args:
        tau: threshold on the normalized entropy.
    """

    stateless = True
    tau: float

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def route(self, observation: Observation) -> Role:
        """Return the LLM if entropy > tau, else the SLM."""
        return Role.LLM if observation.entropy > self.tau else Role.SLM


class WindowRouter(EntropyRouter):
    """The LLM if the mean entropy of the last `length` positions, this one included, is above tau.

    Figure 3c of the paper finds this mean raised before harmful tokens where the last entropy alone is not. A position
    counts once, with the entropy of the model that was evaluated there last: after a swap to the LLM the LLM's entropy
    replaces the SLM's. Near the beginning the mean is over the positions so far.

    Args:
        length: number of positions.
        tau: threshold on the mean.
    """

    def __init__(self, length: int, tau: float) -> None:
        super().__init__(tau)
        self.length = length
        self._window: deque[float] = deque(maxlen=length)
        self._position = -1

    def route(self, observation: Observation) -> Role:
        """Return the LLM if the mean > tau, else the SLM."""
        if observation.position == self._position:
            self._window.pop()
        self._position = observation.position
        self._window.append(observation.entropy)
        return Role.LLM if sum(self._window) / len(self._window) > self.tau else Role.SLM


class MomentumRouter(EntropyRouter):
    """The LLM if an exponential moving average of the entropies, m_t = beta m_(t-1) + (1 - beta) H_t, is above tau.

    m_0 = H_0. As in WindowRouter a position counts once, with the entropy of the model evaluated there last.

    Args:
        beta: weight of the past, from 0 to below 1.
        tau: threshold on the average.
    """

    def __init__(self, beta: float, tau: float) -> None:
        super().__init__(tau)
        self.beta = beta
        self._position = -1
        self._before: float | None = None
        self._mean: float | None = None

    def route(self, observation: Observation) -> Role:
        """Return the LLM if the average > tau, else the SLM."""
        if observation.position != self._position:
            self._position, self._before = observation.position, self._mean
        entropy = observation.entropy
        mean = entropy if self._before is None else self.beta * self._before + (1.0 - self.beta) * entropy
        self._mean = mean
        return Role.LLM if mean > self.tau else Role.SLM


class StayRouter(EntropyRouter):
    """Algorithm 1, except that the LLM generates at least `shortest` tokens once it has control.

    Args:
        shortest: least number of tokens per visit of the LLM.
        tau: threshold on the normalized entropy.
    """

    def __init__(self, shortest: int, tau: float) -> None:
        super().__init__(tau)
        self.shortest = shortest
        self._visit = 0

    def route(self, observation: Observation) -> Role:
        """Return the LLM during the first `shortest` tokens of a visit, else decide by entropy."""
        self._visit = self._visit + 1 if observation.role is Role.LLM else 0
        return Role.LLM if 0 < self._visit < self.shortest else super().route(observation)


class OneTokenRouter(EntropyRouter):
    """The LLM generates a single token wherever the SLM's entropy is above tau, whatever the LLM's own entropy."""

    stateless = True

    def route(self, observation: Observation) -> Role:
        """Return the SLM after every token of the LLM, else decide by entropy."""
        return Role.SLM if observation.role is Role.LLM else super().route(observation)


class HysteresisRouter(Router):
    """Swap to the LLM if the SLM's entropy is above `high`; swap back if the LLM's entropy is at most `low`.

    Args:
        high: threshold on the SLM's entropy.
        low: threshold on the LLM's entropy, not above `high`.
    """

    stateless = True

    def __init__(self, high: float, low: float) -> None:
        self.high = high
        self.low = low

    def route(self, observation: Observation) -> Role:
        """Return the LLM if the entropy is above the threshold of the evaluated model, else the SLM."""
        threshold = self.high if observation.role is Role.SLM else self.low
        return Role.LLM if observation.entropy > threshold else Role.SLM


class ConfidenceRouter(Router):
    """The LLM if the top-1 probability is below a threshold: the rule of the paper's first version.

    Args:
        threshold: a probability.
    """

    stateless = True

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Return the LLM if top1 < threshold, else the SLM."""
        return Role.LLM if observation.top1 < self.threshold else Role.SLM


class MarginRouter(Router):
    """The LLM if the margin of the most likely token over the second is below a threshold.

    Args:
        threshold: a difference of probabilities.
    """

    stateless = True
    needs_margin = True

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Return the LLM if margin < threshold, else the SLM (also for replayed steps without a margin)."""
        return Role.LLM if observation.margin is not None and observation.margin < self.threshold else Role.SLM


class RandomRouter(Router):
    """A control condition: the LLM with probability `share` at each position, by a draw seeded with (seed, position).

    Args:
        share: probability of the LLM, 0 to 1.
        seed: seed of the draws.
    """

    stateless = True

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self.seed = seed

    def route(self, observation: Observation) -> Role:
        """Return the model drawn for the position that is to be generated next."""
        position = observation.position + (observation.role is Role.LLM)
        # ~seed: the choice of the model must not correlate with the sampler's noise, which uses `seed`.
        return Role.LLM if uniform(~self.seed, position) < self.share else Role.SLM


class FixedRouter(Router):
    """One model generates the whole answer; the other is never evaluated.

    Args:
        role: that model.
    """

    stateless = True

    def __init__(self, role: Role) -> None:
        self.start = role

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        """Return the same model every time."""
        return self.start
