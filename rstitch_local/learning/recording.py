"""Routers that record their decisions, for training.

Independent of how a policy is trained from them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import uniform
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import Policy


class Decision(NamedTuple):
    """One query of a policy: its input, its decision, and where in the answer.

    features: float32, shape (policy.metadata.width,).
    switch: whether the LLM was called.
    logp: log-probability of that decision.
    position, entropy: of the observation.
    """

    features: NDArray[np.float32]
    switch: bool
    logp: float
    position: int
    entropy: float


class RecordingRouter(LearnedRouter):
    """A learned router with a list of its decisions."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.decisions: list[Decision] = []

    def _record(self, observation: Observation, features: NDArray[np.float32], switch: bool, logp: float) -> None:
        self.decisions.append(Decision(features, switch, logp, observation.position, observation.entropy))


class SampledRouter(RecordingRouter):
    """Draws each decision from the policy's probability, seeded by the position."""

    def __init__(self, policy: Policy, seed: int) -> None:
        super().__init__(policy)
        # Another stream than those of the sampler and of the random router.
        self._seed = seed ^ 0x5DEECE66D

    def calls_llm(self, observation: Observation) -> bool:
        """Draw the decision."""
        features = self.policy.features(observation)
        score = self.policy.score(features)
        # ln sigmoid(x) = -ln(1 + exp(-x))
        switch = uniform(self._seed, observation.position) < 0.5 * (1 + math.tanh(0.5 * score))
        self._record(observation, features, switch, -float(np.logaddexp(0.0, -score if switch else score)))
        return switch


class EntropyRuleRouter(RecordingRouter):
    """Decides by the entropy rule at `tau`, and records the features a policy would get: for the warm start."""

    def __init__(self, policy: Policy, tau: float) -> None:
        super().__init__(policy)
        self._tau = tau

    def calls_llm(self, observation: Observation) -> bool:
        """Return whether the entropy is above tau."""
        switch = observation.entropy > self._tau
        self._record(observation, self.policy.features(observation), switch, 0.0)
        return switch


class ComparingRouter(RecordingRouter):
    """Switches wherever a policy may be queried, and records whether the LLM preferred another token than the SLM.

    `Decision.switch` is whether it did. Requires models with the same token ids.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._pending: tuple[Observation, NDArray[np.float32]] | None = None

    def calls_llm(self, observation: Observation) -> bool:
        """Return True."""
        self._pending = observation, self.policy.features(observation)
        return True

    def route(self, observation: Observation) -> Role:
        """Route by entropy; after a switch, compare the LLM's most likely token with the SLM's."""
        if self._pending is not None and observation.role is Role.LLM:
            of_slm, features = self._pending
            self._record(of_slm, features, of_slm.token != observation.token, 0.0)
            self._pending = None
        return super().route(observation)
