"""Speculative decoding as a state machine like the trajectory: the SLM drafts, the LLM checks, the answer is the LLM's.

The baseline everybody compares with: Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative
Decoding" (ICML 2023, arXiv 2211.17192). Knows ids, distributions and noise; it never calls a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.entropy import Uncertainty
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router, query
from rstitch_local.decoding.sampling import Sampler
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import EvalRequest, Trajectory
from rstitch_local.decoding.vocabulary import Bridge


class SpeculativeRouter(Router):
    """Not a rule for who writes but another way to decode: decoding/speculative.py goes by it (Leviathan et al., 2023).

    The SLM drafts up to `length` tokens, and none where its top-1 probability is below `threshold`.
    """

    stateless = True

    def __init__(self, length: int, threshold: float = 0.0) -> None:
        self.length = length
        self.threshold = threshold

    def route(self, observation: Observation) -> Role:
        """The LLM where the SLM is not to draft a token."""
        unsure = observation.role is Role.SLM and observation.top1 < self.threshold
        return Role.LLM if unsure else Role.SLM


class _Draft(NamedTuple):
    """A token the SLM proposes.

    token, carried: its ids in the two vocabularies; seen: how sure the SLM was of it.
    chances: the distribution it was drawn from, as LLM ids and probabilities of one shape; None at temperature 0.
    """

    token: int
    carried: int
    seen: Observation
    chances: tuple[NDArray[np.int64], NDArray[np.float64]] | None


class SpeculativeTrajectory(Trajectory):
    """One answer, made in rounds: the SLM drafts some tokens, the LLM evaluates them all at once.

    The LLM keeps the drafts it would have written itself, up to the first that it would not, and writes one token of
    its own; so every round but the last ends with a token of the LLM. At temperature 0 the answer is the LLM's own.
    Else a draft x, drawn from the SLM's distribution q, is kept with probability min(1, p(x) / q(x)), where p is the
    LLM's, and the token in the place of one that is not is drawn from max(0, p - q), normalised: all tokens are
    distributed as the LLM's own. Both are the distributions after temperature and filters. All noise is keyed by
    seed and position.

    `advance` takes one vector of logits at a time. Where `need` asks for several, give them in their order, after
    `note_evaluated`; once `cached` is less than what was evaluated, the rest belongs to tokens that were dropped.
    After that, and at the end, caches are to be cut back to `cached`.

    A draft ends early where the SLM is less sure than the router's threshold, after a token that ends a generation,
    and where a token has no single one in the LLM's vocabulary that stands for it.

    swaps_up, swaps_down: times the LLM was given a draft, and times the SLM was asked again after it.
    The arguments are those of Trajectory.
    """

    def __init__(
        self,
        prompt: Mapping[Role, Sequence[int]],
        *,
        bridge: Bridge,
        router: SpeculativeRouter,
        sampler: Sampler,
        max_tokens: int,
        capacity: Mapping[Role, int],
        resume_steps: Sequence[Step] = (),
    ) -> None:
        self._length = router.length
        self._room = 0
        self._drafts: deque[_Draft] = deque()
        # Drafts kept since the LLM's last token, and the entropy at which the SLM drafted no more.
        self._accepted = 0
        self._hesitation: float | None = None
        self._carried: NDArray[np.int64] | None = None
        super().__init__(
            prompt,
            bridge=bridge,
            router=router,
            sampler=sampler,
            max_tokens=max_tokens,
            capacity=capacity,
            resume_steps=resume_steps,
        )
        if self.stop_reason is None:
            self._begin_round()
            self.swaps_up += self._accepted > 0 and self.active is Role.LLM

    def outputs(self, role: Role) -> int:
        """The LLM's logits are needed after each draft and after the token before them."""
        return self._length + 1 if role is Role.LLM else 1

    def request(self) -> EvalRequest:
        """What the SLM has missed, to draft a token; or the whole draft and what the LLM has missed before it."""
        need = super().request()
        return need._replace(outputs=len(self._drafts) + 1) if need.role is Role.LLM else need

    def stop(self, reason: str) -> None:
        """End the answer here; what is only drafted goes."""
        self._drop()
        super().stop(reason)

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,  # noqa: ARG002
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take one vector of logits: draft a token (None), keep a draft, or keep a token of the LLM's own.

        Raises:
            EngineError: a NaN or an infinity in the logits; names the model and the position.
        """
        side = self._active
        if side.role is Role.SLM:
            self.note_evaluated(len(side.ids) - side.cached, ms)
            position = self.position + len(self._drafts)
            self._draft(logits, self._checked(logits, measured, position), position)
            return None
        if side.cached < len(side.ids) - len(self._drafts):
            self.note_evaluated(len(side.ids) - side.cached, ms)
        return self._judge(logits, self._checked(logits, measured, self.position))

    def _begin_round(self) -> None:
        """The SLM's turn, if there is room for a draft; else the LLM writes on."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        # With the LLM's own token the budget is reached, so there is no use in drafting as many as it has left.
        left = min(self.max_tokens - self.position - 1, llm.capacity - len(llm.ids))
        self._room = min(self._length - self._accepted, left)
        self._hesitation = None
        self._active = slm if self._room > 0 and len(slm.ids) <= slm.capacity else llm

    def _draft(self, logits: NDArray[np.float32], found: Uncertainty, position: int) -> None:
        """Add a token to the draft, or end it."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        seen = Observation(Role.SLM, position, found.entropy, found.top1)
        if query(self.router, seen) is Role.SLM:
            token = self._sampler.choose(logits, position, found.token)
            ids = self._bridge.carry(token, Role.SLM)
            if len(ids) == 1:
                self._drafts.append(_Draft(token, ids[0], seen, self._chances(logits)))
                slm.ids.append(token)
                llm.ids.append(ids[0])
                ended = slm.vocabulary.is_eog(token) or llm.vocabulary.is_eog(ids[0])
                if len(self._drafts) < self._room and len(slm.ids) <= slm.capacity and not ended:
                    return
            else:
                self._hesitation = seen.entropy
        else:
            self._hesitation = seen.entropy
        self.swaps_up += 1
        self._active = llm

    def _judge(self, logits: NDArray[np.float32], found: Uncertainty) -> Step:
        """Keep the first draft that is left, or write a token in its place."""
        slm, llm = self._sides[Role.SLM], self._sides[Role.LLM]
        draft = self._drafts[0] if self._drafts else None
        token = self._own_token(logits, found.token, draft)
        if draft is not None and token == draft.carried:
            self._drafts.popleft()
            self._accepted += 1
            step = self._step(slm, draft.token, draft.seen, llm, token)
            if self.stop_reason is not None:
                self._drop()
            return step
        self._swap_entropy = self._hesitation if draft is None else draft.seen.entropy
        self._drop()
        step = self._keep(llm, token, Observation(Role.LLM, self.position, found.entropy, found.top1))
        self._accepted = 0
        if self.stop_reason is None:
            self._begin_round()
            self.swaps_down += self.active is Role.SLM
        return step

    def _own_token(self, logits: NDArray[np.float32], likeliest: int, draft: _Draft | None) -> int:
        """What the LLM writes at a position; the draft itself, where that is accepted."""
        sampler, position = self._sampler, self.position
        if sampler.sampling.temperature == 0.0:
            return likeliest
        ids, shares = sampler.distribution(logits)
        target = np.zeros(len(logits))
        target[ids] = shares
        if draft is None or draft.chances is None:
            return sampler.draw_again(target, position)
        proposed = np.bincount(draft.chances[0], draft.chances[1], len(target))
        if sampler.coin(position) * proposed[draft.carried] < target[draft.carried]:
            return draft.carried
        rest = np.maximum(target - proposed, 0.0)
        # By rounding two equal distributions may differ just so much that nothing is left.
        return sampler.draw_again(rest if rest.any() else target, position)

    def _chances(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """What the draft was drawn from, given that it can be carried to one token of the LLM's."""
        if self._sampler.sampling.temperature == 0.0:
            return None
        ids, shares = self._sampler.distribution(logits)
        exceptions = self._bridge.exceptions[Role.SLM]
        if exceptions:
            if self._carried is None:
                self._carried = np.arange(len(logits))
                for token, instead in exceptions.items():
                    self._carried[token] = instead[0] if len(instead) == 1 else -1
            ids = self._carried[ids]
            ids, shares = ids[ids >= 0], shares[ids >= 0]
        return ids, shares / shares.sum()

    def _drop(self) -> None:
        """Forget the drafts that are left."""
        for side in self._sides.values():
            del side.ids[len(side.ids) - len(self._drafts) :]
            side.cached = min(side.cached, len(side.ids))
        self._drafts.clear()

    def _replay(self, step: Step) -> Step:
        """Take over a step that was made before: a round that was cut short goes on with what it had left."""
        side, llm = self._sides[step.role], self._sides[Role.LLM]
        seen = Observation(step.role, step.position, step.entropy, step.top1, margin=step.margin)
        ids = self._bridge.carry(step.token, Role.SLM) if step.role is Role.SLM else ()
        if self._accepted == 0:
            self._begin_round()
        asked = self._accepted > 0 or self.active is Role.SLM
        self._swap_entropy = step.swap_entropy
        if len(ids) == 1:
            side.ids.append(step.token)
            llm.ids.append(ids[0])
            again = self._step(side, step.token, seen, llm, ids[0])
        else:
            again = self._keep(side, step.token, seen)
        if step.role is Role.SLM:
            self._accepted += 1
        else:
            self._accepted = 0
            self.swaps_up += asked
            self._begin_round()
            self.swaps_down += self.stop_reason is None and self.active is Role.SLM
        # Whose turn it is in the end is found after the last of them.
        self._active = llm
        return replace(step, position=again.position, text=again.text)
