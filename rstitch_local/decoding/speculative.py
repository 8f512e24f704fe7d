"""Speculative decoding as a state machine like the trajectory: the SLM drafts, the LLM accepts or rejects.

The standard baseline: Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding"
(ICML 2023, arXiv 2211.17192). Never calls a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import Uncertainty
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router, query
from rstitch_local.decoding.side import EvalRequest
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory


class SpeculativeRouter(Router):
    """Selects speculative decoding (SpeculativeTrajectory) instead of routing.

    Args:
        length: most tokens per draft.
        threshold: a draft ends before a token whose top-1 probability is below this.
    """

    stateless = True

    def __init__(self, length: int, threshold: float = 0.0) -> None:
        self.length = length
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """Return the LLM if the SLM must not draft a token here."""
        rejects = observation.role is Role.SLM and observation.top1 < self.threshold
        return Role.LLM if rejects else Role.SLM


class _Draft(NamedTuple):
    """A drafted token.

    Attributes:
        token: its id in the SLM's vocabulary.
        llm_token: its id in the LLM's vocabulary.
        observation: the evaluation that it was drawn from.
        distribution: LLM ids and probabilities, of one shape, that it was drawn from; None at temperature 0.
    """

    token: int
    llm_token: int
    observation: Observation
    distribution: tuple[NDArray[np.int64], NDArray[np.float64]] | None


class SpeculativeTrajectory(Trajectory):
    """One answer, generated in rounds: the SLM drafts some tokens, the LLM evaluates them in one batch.

    The LLM accepts drafts up to the first that it rejects, and generates one token itself; so every round except the
    last ends with a token of the LLM. At temperature 0 the answer is that of the LLM alone. Otherwise a draft x from
    the SLM's distribution q is accepted with probability min(1, p(x) / q(x)), p being the LLM's distribution, and the
    token in place of a rejected one is drawn from max(0, p - q), normalized: tokens are distributed as if the LLM had
    drawn them alone. Both distributions are those after temperature and filters. All noise depends on seed and
    position only.

    `advance` takes one vector of logits at a time. If `request` asks for several outputs, pass them in order, after
    `note_evaluated`; once `cached` is less than what was evaluated, the remaining logits belong to dropped tokens.
    Then, and at the end, truncate the KV caches to `cached`.

    A draft ends early if the SLM's top-1 probability is below the router's threshold, after a token that ends a turn,
    and before a token that has no single counterpart in the LLM's vocabulary.

    Args:
        config: as for Trajectory; the router is a SpeculativeRouter.

    Attributes:
        swaps_up, swaps_down: how often the LLM was given a draft, and how often the SLM drafted again after it.
    """

    def __init__(self, config: TrajectoryConfig) -> None:
        if not isinstance(config.router, SpeculativeRouter):
            raise TypeError("a SpeculativeTrajectory needs a SpeculativeRouter")
        self._length = config.router.length
        self._draft_length = 0
        self._drafts: deque[_Draft] = deque()
        self._accepted = 0
        # The SLM's entropy where it ended a draft early.
        self._draft_end_entropy: float | None = None
        # For each SLM id the LLM's id, or -1; made when it is first needed.
        self._llm_ids: NDArray[np.int64] | None = None
        super().__init__(config)
        if self.stop_reason is None:
            self._begin_round()
            self.swaps_up += self._accepted > 0 and self.active is Role.LLM

    def outputs(self, role: Role) -> int:
        """Return the largest number of outputs: for the LLM one per draft and one for the token before them."""
        return self._length + 1 if role is Role.LLM else 1

    def request(self) -> EvalRequest:
        """Return what the SLM needs to draft a token; or the draft, after what the LLM has not evaluated before it."""
        request = super().request()
        return request._replace(outputs=len(self._drafts) + 1) if request.role is Role.LLM else request

    def stop(self, reason: str) -> None:
        """End the answer; pending drafts are dropped."""
        self._drop_drafts()
        super().stop(reason)

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,  # noqa: ARG002
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take one vector of logits: draft a token (None), accept a draft, or keep a token of the LLM.

        Raises:
            EngineError: a NaN or infinity in the logits; names the model and the position.
        """
        side = self._active
        if side.role is Role.SLM:
            self.note_evaluated(len(side.ids) - side.cached, ms)
            position = self.position + len(self._drafts)
            self._draft(logits, self._checked(logits, measured, position), position)
            return None
        if side.cached < len(side.ids) - len(self._drafts):
            self.note_evaluated(len(side.ids) - side.cached, ms)
        return self._verify(logits, self._checked(logits, measured, self.position))

    def _begin_round(self) -> None:
        """Activate the SLM if there is capacity for a draft, else the LLM."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        # The LLM's own token counts towards max_tokens too, so there is no use in drafting all that is left.
        left = min(self.max_tokens - self.position - 1, llm.capacity - len(llm.ids))
        self._draft_length = min(self._length - self._accepted, left)
        self._draft_end_entropy = None
        self._active = slm if self._draft_length > 0 and len(slm.ids) <= slm.capacity else llm

    def _draft(self, logits: NDArray[np.float32], measured: Uncertainty, position: int) -> None:
        """Add a token to the draft, or end it."""
        observation = Observation(Role.SLM, position, measured.entropy, measured.top1)
        if query(self.router, observation) is Role.SLM:
            token = self._sampler.choose(logits, position, measured.token)
            ids = self._bridge.convert(token, Role.SLM)
            if len(ids) == 1:
                draft = _Draft(token, ids[0], observation, self._distribution(logits))
                if self._append_draft(draft):
                    return
            else:
                self._draft_end_entropy = observation.entropy
        else:
            self._draft_end_entropy = observation.entropy
        self.swaps_up += 1
        self._active = self._sides[Role.LLM]

    def _append_draft(self, draft: _Draft) -> bool:
        """Append a draft for both models; return whether another one may follow."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        self._drafts.append(draft)
        slm.ids.append(draft.token)
        llm.ids.append(draft.llm_token)
        ended = slm.vocabulary.is_eog(draft.token) or llm.vocabulary.is_eog(draft.llm_token)
        return len(self._drafts) < self._draft_length and len(slm.ids) <= slm.capacity and not ended

    def _verify(self, logits: NDArray[np.float32], measured: Uncertainty) -> Step:
        """Accept the first pending draft, or replace it by a token of the LLM."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        draft = self._drafts[0] if self._drafts else None
        token = self._llm_token(logits, measured.token, draft)
        if draft is not None and token == draft.llm_token:
            self._drafts.popleft()
            self._accepted += 1
            step = self._step(slm, draft.token, draft.observation, llm, token)
            if self.stop_reason is not None:
                self._drop_drafts()
            return step
        self._swap_entropy = self._draft_end_entropy if draft is None else draft.observation.entropy
        self._drop_drafts()
        step = self._keep(llm, token, Observation(Role.LLM, self.position, measured.entropy, measured.top1))
        self._accepted = 0
        if self.stop_reason is None:
            self._begin_round()
            self.swaps_down += self.active is Role.SLM
        return step

    def _llm_token(self, logits: NDArray[np.float32], likeliest: int, draft: _Draft | None) -> int:
        """Return the LLM's token at this position: the draft itself if it is accepted."""
        sampler, position = self._sampler, self.position
        if sampler.sampling.temperature == 0.0:
            return likeliest
        ids, probabilities = sampler.distribution(logits)
        target = np.zeros(len(logits))
        target[ids] = probabilities
        if draft is None or draft.distribution is None:
            return sampler.draw_again(target, position)
        proposed = np.bincount(draft.distribution[0], draft.distribution[1], len(target))
        if sampler.uniform(position) * proposed[draft.llm_token] < target[draft.llm_token]:
            return draft.llm_token
        rest = np.maximum(target - proposed, 0.0)
        # Rounding can leave nothing of the difference of two equal distributions.
        return sampler.draw_again(rest if rest.any() else target, position)

    def _distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Return the distribution of a draft, given that it has a single counterpart in the LLM's vocabulary."""
        if self._sampler.sampling.temperature == 0.0:
            return None
        ids, probabilities = self._sampler.distribution(logits)
        exceptions = self._bridge.exceptions[Role.SLM]
        if exceptions:
            if self._llm_ids is None:
                self._llm_ids = np.arange(len(logits))
                for token, counterpart in exceptions.items():
                    self._llm_ids[token] = counterpart[0] if len(counterpart) == 1 else -1
            ids = self._llm_ids[ids]
            ids, probabilities = ids[ids >= 0], probabilities[ids >= 0]
        return ids, probabilities / probabilities.sum()

    def _drop_drafts(self) -> None:
        for side in self._sides.values():
            del side.ids[len(side.ids) - len(self._drafts) :]
            side.cached = min(side.cached, len(side.ids))
        self._drafts.clear()

    def _replay(self, step: Step) -> Step:
        """Take over a step of an earlier answer; a round that was cut short continues with what is left of it."""
        side, llm = self._sides[step.role], self._sides[Role.LLM]
        observation = Observation(step.role, step.position, step.entropy, step.top1, margin=step.margin)
        ids: Sequence[int] = self._bridge.convert(step.token, Role.SLM) if step.role is Role.SLM else ()
        if self._accepted == 0:
            self._begin_round()
        drafted = self._accepted > 0 or self.active is Role.SLM
        self._swap_entropy = step.swap_entropy
        if len(ids) == 1:
            side.ids.append(step.token)
            llm.ids.append(ids[0])
            replayed = self._step(side, step.token, observation, llm, ids[0])
        else:
            replayed = self._keep(side, step.token, observation)
        if step.role is Role.SLM:
            self._accepted += 1
        else:
            self._accepted = 0
            self.swaps_up += drafted
            self._begin_round()
            self.swaps_down += self.stop_reason is None and self.active is Role.SLM
        # The active model is determined after the last replayed step, by `_begin_round`.
        self._active = llm
        return replace(step, position=replayed.position, text=replayed.text)
