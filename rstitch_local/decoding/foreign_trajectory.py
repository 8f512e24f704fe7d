"""Algorithm 1 over two tokenisers: the same state machine, in which a model reads text where it takes over.

Knows what trajectory.py knows, and where a model's tokens and the text part; it never calls a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.entropy import Uncertainty
from rstitch_local.decoding.foreign import STRADDLING, ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import Sampler
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import EvalRequest, Side, Trajectory
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.errors import EngineError


class ForeignTrajectory(Trajectory):
    """One answer by two models that share no tokens.

    Each model keeps the tokens it wrote itself. Where it gets control it reads what the other one has written since,
    in its own tokens, so a swap takes time in proportion to that text. Control only passes where the text is whole
    characters, and not inside a mark of several tokens around the reasoning; until then its holder goes on.

    The last tokens so read may be the beginning of a longer one (`ForeignBridge.continuations`). Their logits come
    with the evaluation that has to be made in any case, `need` asks for them, and are to be given to `advance` in
    their order, after `note_evaluated`. Where the model would write the longer token, that one takes the place of
    the others and its rest is the step's text; `cached` is then less than what was evaluated, the rest of the logits
    belongs to tokens that were dropped, and the cache is to be cut back to `cached`. So they are as well once
    another model is active.

    The arguments are those of Trajectory.
    """

    def __init__(
        self,
        prompt: Mapping[Role, Sequence[int]],
        *,
        bridge: ForeignBridge,
        router: Router,
        sampler: Sampler,
        max_tokens: int,
        capacity: Mapping[Role, int],
        resume_steps: Sequence[Step] = (),
    ) -> None:
        self._foreign = bridge
        # What the other one has written since a model last read or wrote: text, and how many tokens that took.
        self._unread = dict.fromkeys(Role, "")
        self._unread_tokens = dict.fromkeys(Role, 0)
        # The active model's: where a longer token may begin, and the end of the text it has just read.
        self._places: deque[int] = deque()
        self._tail = ""
        # The SLM's logits where it gave way, for the token of that place.
        self._given_way: tuple[int, NDArray[np.float32]] | None = None
        self._skipped = 0
        self._replaying = True
        super().__init__(
            prompt,
            bridge=Bridge(bridge.vocabularies),
            router=router,
            sampler=sampler,
            max_tokens=max_tokens,
            capacity=capacity,
            resume_steps=resume_steps,
        )
        self._replaying = False
        if self.stop_reason is None:
            if resume_steps and resume_steps[-1].role is not self.active:
                # Told to go on from part of a character that the other one left.
                self._decoder.reset()
            self._activate(self.active)

    def ids(self, role: Role) -> Sequence[int]:
        """The whole conversation so far in one model's vocabulary, whole characters only."""
        ids, unread = self._sides[role].ids, self._unread[role]
        return [*ids, *self._foreign.read(unread, role)] if unread else ids

    def outputs(self, role: Role) -> int:
        """A model that has read something may need the logits of the last tokens and of the one before them."""
        return 1 + STRADDLING if role in self._foreign.healing else 1

    def request(self) -> EvalRequest:
        """The tokens the active model has missed; its outputs are those of the places a longer token may begin at."""
        side = self._active
        # What is in the cache already has no logits to come, unless they were kept.
        while self._places and self._places[0] <= side.cached and self._kept_logits(self._places[0]) is None:
            self._places.popleft()
        rows = sum(self._kept_logits(place) is None for place in self._places)
        return super().request()._replace(outputs=1 + rows)

    def advance(
        self,
        logits: NDArray[np.float32],
        hidden: NDArray[np.float32] | None = None,
        *,
        measured: Uncertainty | None = None,
        ms: float = 0.0,
    ) -> Step | None:
        """Take one vector of logits: keep a token, pass control, or let a token read stand (None as well).

        Raises:
            EngineError: a NaN or an infinity in the logits; names the model and the position.
        """
        side = self._active
        while self._places:
            place = self._places.popleft()
            kept = self._kept_logits(place)
            if kept is None:
                if side.cached < place:
                    self.note_evaluated(place - side.cached, ms)
                return self._reconsider(place, logits)
            step = self._reconsider(place, kept)
            if step is not None or self._active is not side:
                return step
        return super().advance(logits, hidden, measured=measured, ms=ms)

    def _kept_logits(self, place: int) -> NDArray[np.float32] | None:
        if self._given_way is None or self.active is not Role.SLM or self._given_way[0] != place:
            return None
        return self._given_way[1]

    def _reconsider(self, place: int, logits: NDArray[np.float32]) -> Step | None:
        """Put a longer token in the place of the last ones read, if the model would rather write that."""
        side = self._active
        role, read = side.role, side.ids[place:]
        instead = self._foreign.continuations(logits, read, self._tail, role)
        if not instead:
            return None
        ids = np.array([read[0], *instead])
        chances = logits[ids].astype(np.float64)
        if not np.isfinite(chances).all():
            bad = int(ids[~np.isfinite(chances)][0])
            message = f"{role.name} at position {self.position}: The logit of token {bad} is {logits[bad]}."
            raise EngineError("Broken logits", message)
        token = self._sampler.choose_among(logits, ids, self.position)
        if token == read[0]:
            return None
        # How sure it is of what comes, given the text: of these tokens alone.
        chances = np.exp(chances - chances.max())
        chances = -np.sort(-chances / chances.sum())
        present = chances[chances > 0]
        entropy = float(-(present * np.log(present)).sum() / np.log(len(logits)))
        ahead = float(chances[0] - chances[1]) if self.router.needs_margin else None
        seen = Observation(role, self.position, entropy, float(chances[0]), margin=ahead, token=token)
        chosen = self._ask(seen)
        if self._pass_up(seen, chosen):
            return None
        self._skipped = self._cut(side, place)
        step = self._keep(side, token, seen)
        if role is Role.LLM:
            self._pass_down(chosen)
        return step

    def _cut(self, side: Side, place: int) -> int:
        """Drop the tokens from a place on; the bytes they were."""
        count = sum(len(side.vocabulary.piece(token)) for token in side.ids[place:])
        del side.ids[place:]
        side.cached, side.read = min(side.cached, place), min(side.read, place)
        self._places.clear()
        return count

    def _take(self, logits: NDArray[np.float32], found: Uncertainty, hidden: NDArray[np.float32] | None) -> Step | None:
        side = self._active
        step = super()._take(logits, found, hidden)
        if step is None:
            self._given_way = (len(side.ids), logits.copy())
        return step

    def _may_swap(self) -> bool:
        """Only at whole characters and whole marks."""
        writer = self._active.role
        unread = self._unread[self._other(writer).role]
        return not self._decoder.getstate()[0] and not self._foreign.inside_a_mark(unread, writer)

    def _missed(self, side: Side) -> int:
        return super()._missed(side) + self._unread_tokens[side.role]

    def _piece(self, reader: Side, token: int) -> bytes:
        skipped, self._skipped = self._skipped, 0
        return super()._piece(reader, token)[skipped:]

    def _keep(self, side: Side, token: int, seen: Observation) -> Step:
        """Append a token for its writer; the other one will read its text."""
        side.ids.append(token)
        step = self._step(side, token, seen, side, token)
        other = self._other(side.role).role
        self._unread[other] += step.text
        self._unread_tokens[other] += 1
        return step

    def _read(self, side: Side) -> None:
        """Have a model read what the other one wrote, and note where a longer token may begin."""
        role, text = side.role, self._unread[side.role]
        start = len(side.ids)
        if text:
            side.ids += self._foreign.read(text, role)
        self._unread[role], self._unread_tokens[role] = "", 0
        self._tail = text
        self._places.clear()
        if role in self._foreign.healing:
            self._places += range(max(start, len(side.ids) - STRADDLING), len(side.ids))

    def _activate(self, role: Role) -> None:
        if not self._replaying:
            self._read(self._sides[role])
            if self.router.needs_hidden and role is Role.SLM:
                # With hidden states on, a batch has the logits of its last token alone.
                self._places.clear()
        super()._activate(role)

    def _replay(self, step: Step) -> Step:
        """Take over a step that was made before; each model reads where it read then."""
        if step.swap_entropy is not None:
            self._read(self._sides[Role.SLM])
        side = self._sides[step.role]
        self._read(side)
        place = self._place_of(side, step)
        self._skipped = 0 if place is None else self._cut(side, place)
        return super()._replay(step)

    def _place_of(self, side: Side, step: Step) -> int | None:
        """Where a step's token took the place of tokens read: its text is then less than the token's."""
        piece = side.vocabulary.piece
        whole = piece(step.token)
        for place in self._places:
            read = b"".join(piece(token) for token in side.ids[place:])
            rest = whole[len(read) :]
            if rest and whole.startswith(read) and step.text and rest == step.text.encode("utf-8", "replace"):
                return place
        return None
