"""Algorithm 1 of R-Stitch as a state machine: it returns what to evaluate next and takes the logits.

Holds the token ids of one conversation in both vocabularies. Never calls a model; uses no clocks and no files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.answer_text import AnswerText
from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import EntropyMeter, Uncertainty, margin, require_finite, top_k
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, query
from rstitch_local.decoding.side import EvalRequest, Side
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError


class Trajectory:
    """One answer while it is generated.

    Until `stop_reason` is set: call `request`, evaluate it, pass the logits of its last token to `advance`.

    Args:
        config: the prompt, the rules and the limits. The bridge must be one of token ids (`Bridge`).

    Attributes:
        router: decides which model generates the next token.
        max_tokens: most tokens of the answer.
        position: number of tokens so far, resumed ones included.
        swaps_up, swaps_down: how often control passed to the LLM, and back to the SLM.
        stop_reason: "eog" (a model ended its turn), "stop" (a stop string), "length" (max_tokens or the capacity is
            reached), or the reason passed to `stop`; None while the answer is unfinished.
        resumed: the resumed steps, with their texts decoded again.
    """

    def __init__(self, config: TrajectoryConfig) -> None:
        self.router = config.router
        self.max_tokens = config.max_tokens
        self.position = 0
        self.swaps_up = 0
        self.swaps_down = 0
        self.stop_reason: str | None = None
        self._bridge = self._id_bridge(config)
        self._sampler = config.sampler
        self._sides = {
            role: Side(role, config.prompt[role], config.capacity[role], config.bridge.vocabularies[role])
            for role in Role
        }
        self._active = self._sides[config.router.start]
        self._text = AnswerText(config.stop)
        self._pending_tokens = 0
        self._pending_ms = 0.0
        self._swap_entropy: float | None = None
        self.resumed = [self._replay(step) for step in config.resume_steps]
        self._last_step = self.resumed[-1] if self.resumed else None
        if config.resume_steps and self._active.role is Role.SLM:
            self._activate(config.router.start)

    def _id_bridge(self, config: TrajectoryConfig) -> Bridge:
        if not isinstance(config.bridge, Bridge):
            raise TypeError("models with different tokenizers need a ForeignTrajectory")
        return config.bridge

    @property
    def active(self) -> Role:
        """The model that is evaluated next."""
        return self._active.role

    def ids(self, role: Role) -> Sequence[int]:
        """Return the whole conversation so far in one model's vocabulary."""
        return self._sides[role].ids

    def cached(self, role: Role) -> int:
        """Return how many of `ids(role)` the model's KV cache holds; always the first ones."""
        return self._sides[role].cached

    def tokens(self, role: Role) -> int:
        """Return the number of tokens of the answer that a model generated."""
        return self._sides[role].tokens

    def outputs(self, role: Role) -> int:  # noqa: ARG002
        """Return the largest number of outputs that one request for this model may need."""
        return 1

    def request(self) -> EvalRequest:
        """Return the tokens that the active model has not evaluated yet (at first, its prompt)."""
        side = self._active
        hidden = self.router.needs_hidden and side.role is Role.SLM
        return EvalRequest(side.role, side.ids[side.cached :], max(0, side.prompt - side.cached), hidden)

    def note_cached(self, role: Role, count: int) -> None:
        """Set how many tokens a model's KV cache holds, after a change other than by an evaluation.

        Args:
            role: the model.
            count: length of the prefix of `ids(role)` that is in its KV cache.
        """
        side = self._sides[role]
        side.cached, side.seen = count, max(side.seen, count)

    def note_evaluated(self, count: int, ms: float) -> None:
        """Record that the first `count` tokens of the request were evaluated.

        Args:
            count: number of tokens; the others remain requested.
            ms: time that took, in milliseconds.
        """
        side = self._active
        side.cached += count
        side.seen = max(side.seen, side.cached)
        self._pending_tokens += count
        self._pending_ms += ms

    def stop(self, reason: str) -> None:
        """End the answer. Text held back for a stop string is added to the last step.

        Args:
            reason: the `stop_reason`, such as "interrupted" or "error".
        """
        self.stop_reason = reason
        if self._last_step is not None:
            self._last_step.text += self._text.release()

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take the logits of the last requested token; keep a token, or pass control to the LLM.

        Args:
            logits: float32, shape (n_vocab of the active model,).
            hidden: its hidden state if it was requested, float32, shape (n_embd,).
            measured: the result of an EntropyMeter on these logits; measured here if None.
            ms: time that the evaluation took, in milliseconds.

        Returns:
            The step of the token kept; None if control passed to the LLM, which is then active at the same position.

        Raises:
            EngineError: a NaN or infinity in the logits (names the model and the position), or the router failed.
        """
        side = self._active
        self.note_evaluated(len(side.ids) - side.cached, ms)
        return self._decide(logits, self._checked(logits, measured, self.position), hidden)

    def _replay(self, step: Step) -> Step:
        """Take over a step of an earlier answer, and show the router the evaluations that led to it."""
        self._active = self._sides[step.role]
        self._active.seen = len(self._active.ids)
        if step.swap_entropy is not None:
            self.swaps_up += 1
            self._sides[Role.SLM].seen = len(self._sides[Role.SLM].ids)
            self._query(Observation(Role.SLM, step.position, step.swap_entropy, math.nan))
        observation = Observation(step.role, step.position, step.entropy, step.top1, margin=step.margin)
        chosen = self._query(observation)
        replayed = self._keep(self._active, step.token, observation)
        if step.role is Role.LLM:
            self._pass_down(chosen)
        return replace(step, position=replayed.position, text=replayed.text)

    def _decide(
        self, logits: NDArray[np.float32], measured: Uncertainty, hidden: NDArray[np.float32] | None
    ) -> Step | None:
        """Query the router; keep a token or pass control."""
        side = self._active
        token, entropy, top1 = measured
        observation = Observation(side.role, self.position, entropy, top1, hidden, token=token)
        if self.router.needs_margin:
            observation.margin = margin(logits, token, top1)
        if self.router.needs_top_k:
            observation.top_k_ids, observation.top_k_logits = top_k(logits, self.router.needs_top_k)
        if self.router.needs_pending:
            observation.pending = self._missed(self._sides[side.role.other])
        chosen = self._query(observation)
        if self._pass_up(observation, chosen):
            return None
        token = self._sampler.choose(logits, self.position, token)
        step = self._keep(side, token, observation)
        if side.role is Role.LLM:
            self._pass_down(chosen)
        return step

    def _checked(self, logits: NDArray[np.float32], measured: Uncertainty | None, position: int) -> Uncertainty:
        """Measure logits of the active model unless they are measured; raise EngineError on NaN or infinity."""
        try:
            if measured is None:
                return EntropyMeter(len(logits)).measure(logits)
            require_finite(measured, logits)
        except EngineError as error:
            raise EngineError(
                error.title, f"{self._active.role.name} at position {position}: {error.message}", error.hint
            ) from error
        return measured

    def _query(self, observation: Observation) -> Role:
        """Query the router, about a replayed evaluation as well."""
        if self.router.needs_step_start:
            observation.step_start = self.position == 0 or self._text.starts_step
        return query(self.router, observation)

    def _pass_up(self, observation: Observation, chosen: Role) -> bool:
        """Pass control from the SLM to the LLM if the router chose it; return whether it passed."""
        if observation.role is not Role.SLM or chosen is not Role.LLM or not self._may_swap():
            return False
        self.swaps_up += 1
        self._swap_entropy = observation.entropy
        self._activate(Role.LLM)
        return True

    def _pass_down(self, chosen: Role) -> None:
        """After a token of the LLM: pass control to the SLM if the router chose it."""
        if self.stop_reason is None and chosen is Role.SLM and self._may_swap():
            self.swaps_down += 1
            self._activate(Role.SLM)

    def _may_swap(self) -> bool:
        """Return whether the other model can read the conversation as it is; always with a shared tokenizer."""
        return True

    def _missed(self, side: Side) -> int:
        """Return how many tokens a model has never evaluated, whether or not its KV cache was evicted since."""
        return len(side.ids) - side.seen

    def _keep(self, side: Side, token: int, observation: Observation) -> Step:
        """Append a token for both models."""
        side.ids.append(token)
        self._sides[side.role.other].ids.extend(self._bridge.convert(token, side.role))
        return self._step(side, token, observation, side, token)

    def _step(self, side: Side, token: int, observation: Observation, reader: Side, read: int) -> Step:
        """Count and record a token that was appended to the ids of both models.

        Args:
            side: the writer.
            token: its token.
            observation: the evaluation that the token was drawn from.
            reader: the model whose vocabulary and capacity decide about text and end of the answer.
            read: the token in that model's vocabulary.
        """
        side.tokens += 1
        position = self.position
        self.position += 1
        if reader.vocabulary.is_eog(read):
            self.stop_reason = "eog"
        elif self.position >= self.max_tokens or len(reader.ids) > reader.capacity:
            self.stop_reason = "length"
        text = self._text.add(self._piece(reader, read), final=self.stop_reason is not None)
        if self._text.stopped:
            self.stop_reason = "stop"
        self._last_step = step = Step(
            position,
            side.role,
            token,
            text,
            observation.entropy,
            observation.top1,
            self._pending_tokens,
            self._pending_ms,
            self._swap_entropy,
            observation.margin,
        )
        self._pending_tokens = 0
        self._pending_ms = 0.0
        self._swap_entropy = None
        return step

    def _piece(self, reader: Side, token: int) -> bytes:
        """Return the bytes that a token adds to the text."""
        return reader.vocabulary.piece(token)

    def _activate(self, role: Role) -> None:
        side = self._sides[role]
        self._active = side
        if len(side.ids) > side.capacity:
            self.stop_reason = "length"
