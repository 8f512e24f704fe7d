"""Algorithm 1 over two tokenizers: the same state machine, except that a model re-tokenizes text when it gets control.

Never calls a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import Uncertainty
from rstitch_local.decoding.foreign import HEALED_TOKENS, ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.side import EvalRequest, Side
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError


class ForeignTrajectory(Trajectory):
    """One answer of two models that share no tokens.

    Each model keeps the tokens it generated. When it gets control it re-tokenizes the text that the other one has
    generated since, so a swap takes time in proportion to that text. Control passes only where the text is whole
    characters and not inside a thinking tag of several tokens.

    The last tokens of a re-tokenized text may be the beginning of a longer one (`ForeignBridge.continuations`). Their
    logits come with the evaluation that is needed anyway: `request` asks for them, and they are passed to `advance` in
    order, after `note_evaluated`. If the model prefers the longer token, it replaces the others and the rest of it is
    the step's text. `cached` is then less than what was evaluated: the remaining logits are invalid, and the KV cache
    has to be truncated to `cached`. The same holds when another model is active.

    Args:
        config: as for Trajectory; the bridge is a ForeignBridge.
    """

    def __init__(self, config: TrajectoryConfig) -> None:
        if not isinstance(config.bridge, ForeignBridge):
            raise TypeError("a ForeignTrajectory needs a ForeignBridge")
        self._foreign = config.bridge
        # What the other model generated since a model last read or generated: the text, and its number of tokens.
        self._unread = dict.fromkeys(Role, "")
        self._unread_tokens = dict.fromkeys(Role, 0)
        # Of the active model: indexes of re-tokenized ids where a longer token may begin, and the text they stand for.
        self._candidates: deque[int] = deque()
        self._retokenized = ""
        # The SLM's logits where control passed to the LLM, and the index of the token they predict.
        self._swap_logits: tuple[int, NDArray[np.float32]] | None = None
        self._replaced_bytes = 0
        self._replaying = True
        super().__init__(config)
        self._replaying = False
        if self.stop_reason is None:
            if config.resume_steps and config.resume_steps[-1].role is not self.active:
                # The router has the other model resume, which cannot complete a character.
                self._text.drop_partial_character()
            self._activate(self.active)

    def _id_bridge(self, config: TrajectoryConfig) -> Bridge:
        return Bridge(config.bridge.vocabularies)

    def ids(self, role: Role) -> Sequence[int]:
        """Return the whole conversation so far in one model's vocabulary, whole characters only."""
        ids, unread = self._sides[role].ids, self._unread[role]
        return [*ids, *self._foreign.retokenize(unread, role)] if unread else ids

    def outputs(self, role: Role) -> int:
        """Return the largest number of outputs: the last token, and candidates for a longer token."""
        return 1 + HEALED_TOKENS if role in self._foreign.healing else 1

    def request(self) -> EvalRequest:
        """Return the tokens that the active model has not evaluated; outputs include those of the candidates."""
        side = self._active
        # Tokens that are in the KV cache give no logits any more, unless these were stored.
        while self._candidates and self._candidates[0] <= side.cached and self._stored(self._candidates[0]) is None:
            self._candidates.popleft()
        rows = sum(self._stored(index) is None for index in self._candidates)
        return super().request()._replace(outputs=1 + rows)

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take one vector of logits: keep a token, pass control, or leave a re-tokenized token as it is (None as well).

        Raises:
            EngineError: a NaN or infinity in the logits (names the model and the position), or the router failed.
        """
        side = self._active
        while self._candidates:
            index = self._candidates.popleft()
            stored = self._stored(index)
            if stored is None:
                if side.cached < index:
                    self.note_evaluated(index - side.cached, ms)
                return self._reconsider(index, logits)
            step = self._reconsider(index, stored)
            if step is not None or self._active is not side:
                return step
        return super().advance(logits, hidden, measured=measured, ms=ms)

    def _stored(self, index: int) -> NDArray[np.float32] | None:
        """Return the logits of the SLM that predict the token at an index, if they were stored."""
        if self._swap_logits is None or self.active is not Role.SLM or self._swap_logits[0] != index:
            return None
        return self._swap_logits[1]

    def _reconsider(self, index: int, logits: NDArray[np.float32]) -> Step | None:
        """Replace the re-tokenized tokens from an index on by a longer one, if the model prefers that."""
        side = self._active
        role, read = side.role, side.ids[index:]
        longer = self._foreign.continuations(logits, read, self._retokenized, role)
        if not longer:
            return None
        ids = np.array([read[0], *longer])
        if not np.isfinite(logits[ids]).all():
            bad = int(ids[~np.isfinite(logits[ids])][0])
            message = f"{role.name} at position {self.position}: The logit of token {bad} is {logits[bad]}."
            raise EngineError("Broken logits", message)
        token = self._sampler.choose_among(logits, ids, self.position)
        if token == read[0]:
            return None
        observation = self._observe_candidates(logits, ids, token)
        chosen = self._query(observation)
        if self._pass_up(observation, chosen):
            return None
        self._replaced_bytes = self._cut(side, index)
        step = self._keep(side, token, observation)
        if role is Role.LLM:
            self._pass_down(chosen)
        return step

    def _observe_candidates(self, logits: NDArray[np.float32], ids: NDArray[np.int64], token: int) -> Observation:
        """Return the observation of a choice among a few tokens: given the text, the others are impossible."""
        role = self._active.role
        order = np.argsort(-logits[ids], kind="stable")
        probabilities = logits[ids].astype(np.float64)
        probabilities = np.exp(probabilities - probabilities.max())
        probabilities = (probabilities / probabilities.sum())[order]
        positive = probabilities[probabilities > 0]
        entropy = float(-(positive * np.log(positive)).sum() / np.log(len(logits)))
        observation = Observation(role, self.position, entropy, float(probabilities[0]), token=token)
        if self.router.needs_margin:
            observation.margin = float(probabilities[0] - probabilities[1])
        if self.router.needs_top_k:
            observation.top_k_ids = ids[order][: self.router.needs_top_k]
            observation.top_k_logits = logits[observation.top_k_ids]
        if self.router.needs_pending:
            observation.pending = self._missed(self._sides[role.other])
        return observation

    def _cut(self, side: Side, index: int) -> int:
        """Drop the tokens from an index on; return the number of bytes they stand for."""
        count = sum(len(side.vocabulary.piece(token)) for token in side.ids[index:])
        del side.ids[index:]
        side.cached, side.seen = min(side.cached, index), min(side.seen, index)
        self._candidates.clear()
        return count

    def _decide(
        self, logits: NDArray[np.float32], measured: Uncertainty, hidden: NDArray[np.float32] | None
    ) -> Step | None:
        side = self._active
        step = super()._decide(logits, measured, hidden)
        if step is None:
            self._swap_logits = (len(side.ids), logits.copy())
        return step

    def _may_swap(self) -> bool:
        writer = self._active.role
        return self._text.whole and not self._foreign.inside_tag(self._unread[writer.other], writer)

    def _missed(self, side: Side) -> int:
        return super()._missed(side) + self._unread_tokens[side.role]

    def _piece(self, reader: Side, token: int) -> bytes:
        return super()._piece(reader, token)[self._replaced_bytes :]

    def _keep(self, side: Side, token: int, observation: Observation) -> Step:
        """Append a token for the model that generated it; the other one will read its text."""
        side.ids.append(token)
        step = self._step(side, token, observation, side, token)
        step.replaced_bytes, self._replaced_bytes = self._replaced_bytes, 0
        other = side.role.other
        self._unread[other] += self._text.last
        self._unread_tokens[other] += 1
        return step

    def _read(self, side: Side) -> None:
        """Re-tokenize what the other model generated, and note where a longer token may begin."""
        role, text = side.role, self._unread[side.role]
        start = len(side.ids)
        if text:
            side.ids += self._foreign.retokenize(text, role)
        self._unread[role], self._unread_tokens[role] = "", 0
        self._retokenized = text
        self._candidates.clear()
        if role in self._foreign.healing:
            self._candidates += range(max(start, len(side.ids) - HEALED_TOKENS), len(side.ids))

    def _activate(self, role: Role) -> None:
        if not self._replaying:
            self._read(self._sides[role])
            if self.router.needs_hidden and role is Role.SLM:
                # A batch with hidden states has the logits of its last token only.
                self._candidates.clear()
        super()._activate(role)

    def _replay(self, step: Step) -> Step:
        """Take over a step of an earlier answer; each model re-tokenizes where it did then."""
        if step.swap_entropy is not None:
            self._read(self._sides[Role.SLM])
        side = self._sides[step.role]
        self._read(side)
        index = self._replaced_from(side, step)
        self._replaced_bytes = 0 if index is None else self._cut(side, index)
        replaced = self._replaced_bytes
        return replace(super()._replay(step), replaced_bytes=replaced)

    def _replaced_from(self, side: Side, step: Step) -> int | None:
        """Return the index of the first token that a step's token replaced; None if it replaced none."""
        if step.replaced_bytes == 0:
            return None
        piece = side.vocabulary.piece
        whole = piece(step.token)
        for index in self._candidates:
            read = b"".join(piece(token) for token in side.ids[index:])
            rest = whole[len(read) :]
            if not rest or not whole.startswith(read):
                continue
            if step.replaced_bytes is None:
                # A step of version 0.1: its text is that of the token, without stop strings.
                if step.text and rest == step.text.encode("utf-8", "replace"):
                    return index
            elif step.replaced_bytes == len(read):
                return index
        return None
