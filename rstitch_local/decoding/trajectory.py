"""Algorithm 1 of R-Stitch as a state machine: it says what to evaluate next and takes the logits.

Knows the ids of one conversation in both vocabularies, who is active, the router and the sampler. It never
calls a model, and knows nothing of clocks, files or screens.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.entropy import EntropyMeter, Uncertainty, margin, require_finite
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router, query
from rstitch_local.decoding.sampling import Sampler
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError


class EvalRequest(NamedTuple):
    """What has to be evaluated next: tokens `ids` on the model of `role`, the first `prompt` of them prompt.

    The logits of the last `outputs` of them are wanted.
    """

    role: Role
    ids: Sequence[int]
    prompt: int
    hidden: bool
    outputs: int = 1


class Side:
    """One model's view of the conversation: all its ids, how many of them its cache holds, and how many it has read.

    What was read stays read when a cache is given up, and when an answer goes on from steps it had a part in.
    """

    __slots__ = ("cached", "capacity", "ids", "prompt", "read", "role", "tokens", "vocabulary")

    def __init__(self, role: Role, prompt: Sequence[int], capacity: int, bridge: Bridge) -> None:
        self.role = role
        self.ids = list(prompt)
        self.prompt = len(prompt)
        self.cached = self.read = 0
        self.capacity = capacity
        self.vocabulary = bridge.vocabularies[role]
        self.tokens = 0


class Trajectory:
    """One answer in the making.

    Call `need`, evaluate it, hand the last token's logits to `advance`; until `stop_reason` is set.

    Args:
        prompt: the rendered conversation in each model's own vocabulary, not empty.
        bridge: how tokens are carried between the two vocabularies.
        router: decides who writes.
        sampler: draws the tokens.
        max_tokens: budget of kept tokens.
        capacity: tokens each model's cache can hold.
        resume_steps: steps of an answer that this one goes on from; positions, control and noise are as if it had never
            stopped. Their tokens count for the budget.

    Attributes:
        resumed: those steps, their texts read anew from the tokens.
    """

    def __init__(
        self,
        prompt: Mapping[Role, Sequence[int]],
        *,
        bridge: Bridge,
        router: Router,
        sampler: Sampler,
        max_tokens: int,
        capacity: Mapping[Role, int],
        resume_steps: Sequence[Step] = (),
    ) -> None:
        self.router = router
        self.max_tokens = max_tokens
        self.position = 0
        self.swaps_up = 0
        self.swaps_down = 0
        self.stop_reason: str | None = None
        self._bridge = bridge
        self._sampler = sampler
        self._sides = {role: Side(role, prompt[role], capacity[role], bridge) for role in Role}
        self._active = self._sides[router.start]
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending_tokens = 0
        self._pending_ms = 0.0
        self._swap_entropy: float | None = None
        self.resumed = [self._replay(step) for step in resume_steps]
        if resume_steps and self._active.role is Role.SLM:
            self._activate(router.start)

    @property
    def active(self) -> Role:
        """The model that is to be evaluated next."""
        return self._active.role

    def ids(self, role: Role) -> Sequence[int]:
        """The whole conversation so far in one model's vocabulary."""
        return self._sides[role].ids

    def cached(self, role: Role) -> int:
        """How many of `ids(role)` that model has evaluated; always the first ones."""
        return self._sides[role].cached

    def tokens(self, role: Role) -> int:
        """Kept tokens this model has written."""
        return self._sides[role].tokens

    def outputs(self, role: Role) -> int:  # noqa: ARG002
        """How many tokens of one evaluation by this model may need their logits."""
        return 1

    def request(self) -> EvalRequest:
        """The tokens the active model has missed since it last ran (at first, its prompt)."""
        side = self._active
        hidden = self.router.needs_hidden and side.role is Role.SLM
        return EvalRequest(side.role, side.ids[side.cached :], max(0, side.prompt - side.cached), hidden)

    def note_cached(self, role: Role, count: int) -> None:
        """Say how many tokens a model holds, where that has changed without its being evaluated."""
        side = self._sides[role]
        side.cached, side.read = count, max(side.read, count)

    def note_evaluated(self, count: int, ms: float) -> None:
        """Say that the first `count` tokens of `need` were evaluated, in `ms` milliseconds; the rest is to come."""
        side = self._active
        side.cached += count
        side.read = max(side.read, side.cached)
        self._pending_tokens += count
        self._pending_ms += ms

    def stop(self, reason: str) -> None:
        """End the answer here."""
        self.stop_reason = reason

    def _replay(self, step: Step) -> Step:
        """Take over a step that was made before, and show the router what it saw then."""
        self._active = self._sides[step.role]
        self._active.read = len(self._active.ids)
        if step.swap_entropy is not None:
            self.swaps_up += 1
            self._sides[Role.SLM].read = len(self._sides[Role.SLM].ids)
            query(self.router, Observation(Role.SLM, step.position, step.swap_entropy, math.nan))
        seen = Observation(step.role, step.position, step.entropy, step.top1, margin=step.margin)
        chosen = query(self.router, seen)
        again = self._keep(self._active, step.token, seen)
        if step.role is Role.LLM:
            self._pass_down(chosen)
        return replace(step, position=again.position, text=again.text)

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take the logits of the last token of `need`; keep a token, or pass control.

        Args:
            logits: float32, shape (n_vocab of the active model,).
            hidden: its hidden state where `need` asked for it, float32, shape (n_embd,).
            measured: what an EntropyMeter says of them, from whoever measures many at once.
            ms: time the evaluation took.

        Returns:
            The step for the token kept, or None where the SLM was unsure: the LLM is then active, at the same
            position.

        Raises:
            EngineError: a NaN or an infinity in the logits; names the model and the position.
        """
        side = self._active
        self.note_evaluated(len(side.ids) - side.cached, ms)
        return self._take(logits, self._checked(logits, measured, self.position), hidden)

    def _take(self, logits: NDArray[np.float32], found: Uncertainty, hidden: NDArray[np.float32] | None) -> Step | None:
        """Ask the router, and keep a token or pass control."""
        side = self._active
        token, entropy, top1 = found
        writer = side.role
        ahead = margin(logits, token, top1) if self.router.needs_margin else None
        seen = Observation(writer, self.position, entropy, top1, hidden, ahead, token=token)
        chosen = self._ask(seen)
        if self._pass_up(seen, chosen):
            return None
        token = self._sampler.choose(logits, self.position, token)
        step = self._keep(side, token, seen)
        if writer is Role.LLM:
            self._pass_down(chosen)
        return step

    def _checked(self, logits: NDArray[np.float32], measured: Uncertainty | None, position: int) -> Uncertainty:
        """What an EntropyMeter says of the active model's logits, if they are numbers."""
        try:
            if measured is None:
                return EntropyMeter(len(logits)).measure(logits)
            require_finite(measured, logits)
        except EngineError as error:
            raise EngineError(
                error.title, f"{self._active.role.name} at position {position}: {error.message}", error.hint
            ) from error
        return measured

    def _ask(self, seen: Observation) -> Role:
        """Who is to write, by the router, which is told how much the other model has missed if it wants to know."""
        if self.router.needs_pending:
            seen.pending = self._missed(self._other(seen.role))
        return query(self.router, seen)

    def _pass_up(self, seen: Observation, chosen: Role) -> bool:
        """Control from the SLM to the LLM, if the router chose it; whether it passed."""
        if seen.role is not Role.SLM or chosen is not Role.LLM or not self._may_swap():
            return False
        self.swaps_up += 1
        self._swap_entropy = seen.entropy
        self._activate(Role.LLM)
        return True

    def _pass_down(self, chosen: Role) -> None:
        """After a token of the LLM: control to the SLM, if the router chose it."""
        if self.stop_reason is None and chosen is Role.SLM and self._may_swap():
            self.swaps_down += 1
            self._activate(Role.SLM)

    def _may_swap(self) -> bool:
        """Whether the other model could read what there is; those that share their tokens always can."""
        return True

    def _missed(self, side: Side) -> int:
        """How many tokens a model has not read yet, whatever its cache has had to give up meanwhile."""
        return len(side.ids) - side.read

    def _keep(self, side: Side, token: int, seen: Observation) -> Step:
        """Append a token for both models."""
        writer = side.role
        other = self._other(writer)
        side.ids.append(token)
        other.ids.extend(self._bridge.carry(token, writer))
        return self._step(side, token, seen, side, token)

    def _step(self, side: Side, token: int, seen: Observation, reader: Side, read: int) -> Step:
        """Count a token that is among both models' ids; `read` is what `reader`, who says if it is the end, reads."""
        side.tokens += 1
        position = self.position
        self.position += 1
        if reader.vocabulary.is_eog(read):
            self.stop_reason = "eog"
        elif self.position >= self.max_tokens or len(reader.ids) > reader.capacity:
            self.stop_reason = "length"
        text = self._decoder.decode(self._piece(reader, read), final=self.stop_reason is not None)
        step = Step(
            position,
            side.role,
            token,
            text,
            seen.entropy,
            seen.top1,
            self._pending_tokens,
            self._pending_ms,
            self._swap_entropy,
            seen.margin,
        )
        self._pending_tokens = 0
        self._pending_ms = 0.0
        self._swap_entropy = None
        return step

    def _piece(self, reader: Side, token: int) -> bytes:
        """What a token adds to the text."""
        return reader.vocabulary.piece(token)

    def _other(self, role: Role) -> Side:
        return self._sides[Role.LLM if role is Role.SLM else Role.SLM]

    def _activate(self, role: Role) -> None:
        side = self._sides[role]
        self._active = side
        if len(side.ids) > side.capacity:
            self.stop_reason = "length"
