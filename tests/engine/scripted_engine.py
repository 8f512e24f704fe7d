"""A driver with scripted models: their logits are exact, so batched trajectories can be compared with single ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import CheckedCache, ScriptedModel, make_trajectory

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.engine.driver import Driver
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import CacheFullError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.llama.sequence_cache import common_length
from rstitch_local.routing.rules import EntropyRouter
from rstitch_local.trace.record import Trace

VOCABULARY = 30
END = 0
NEVER = 99
"""A token that no model generates: answers with this end token have the maximum length."""

BROKEN = 29
"""A token after which logits are NaN, in contexts with `breaks`."""


@dataclass(frozen=True)
class Width:
    """The part of the weights that a driver uses."""

    n_vocab: int


class ScriptedContext:
    """Stands in for llama/context.py: one scripted model with many sequences in a unified KV cache.

    breaks: whether `BROKEN` makes the logits NaN, those of all sequences, until the cache is cleared.
    """

    def __init__(
        self,
        model: ScriptedModel,
        sequences: int,
        *,
        n_ctx: int = 100,
        n_batch: int = 64,
        kv_cells: int | None = None,
        breaks: bool = False,
    ) -> None:
        self.model = model
        self.weights = Width(model.n_vocab)
        self.n_seq_max = sequences
        self.n_ctx = n_ctx
        self.kv_cells = kv_cells or n_ctx * sequences
        self.n_batch = max(n_batch, 2 * sequences)
        self.outputs = min(self.n_batch, sequences + 3)
        self.calls: list[list[BatchSlice]] = []
        self.hidden: list[bool] = []
        self.most_used = 0
        self._breaks = breaks
        self._broken = False
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        # The cell of each token; sequences with a common prefix share cells.
        self._cells: list[list[int]] = [[] for _ in range(sequences)]
        self._fresh = itertools.count()

    @property
    def used_cells(self) -> int:
        return len(set(itertools.chain.from_iterable(self._cells)))

    def length(self, sequence: int) -> int:
        return len(self._tokens[sequence])

    def tokens(self, sequence: int) -> list[int]:
        return self._tokens[sequence]

    def truncate(self, sequence: int, length: int) -> int:
        del self._tokens[sequence][length:]
        del self._cells[sequence][length:]
        return self.length(sequence)

    def clear(self) -> None:
        self._broken = False
        for sequence in range(self.n_seq_max):
            self.truncate(sequence, 0)

    def longest_prefix(self, ids: Sequence[int]) -> tuple[int, int]:
        lengths = [min(common_length(tokens, ids), len(ids) - 1) for tokens in self._tokens]
        best = lengths.index(max(lengths))
        return best, lengths[best]

    def reuse_prefix(self, sequence: int, ids: Sequence[int]) -> int:
        source, length = self.longest_prefix(ids)
        self._tokens[sequence] = list(ids[:length])
        self._cells[sequence] = self._cells[source][:length]
        return length

    def decode(self, slices: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        count = sum(len(batch_slice.ids) for batch_slice in slices)
        assert 0 < count <= self.n_batch
        assert all(batch_slice.ids for batch_slice in slices)
        assert len({batch_slice.sequence for batch_slice in slices}) == len(slices)
        assert not hidden or (all(batch_slice.outputs for batch_slice in slices) and count <= self.outputs)
        if self.used_cells + count > self.kv_cells:
            raise CacheFullError("KV cache full", "No cells.")
        self.calls.append(list(slices))
        self.hidden.append(hidden)
        rows = []
        for batch_slice in slices:
            self._tokens[batch_slice.sequence] += batch_slice.ids
            self._cells[batch_slice.sequence] += itertools.islice(self._fresh, len(batch_slice.ids))
            self._broken |= self._breaks and BROKEN in batch_slice.ids
        self.most_used = max(self.most_used, self.used_cells)
        for batch_slice in slices:
            ids = self._tokens[batch_slice.sequence]
            assert len(ids) <= self.n_ctx
            if batch_slice.outputs:
                rows.append(np.full(VOCABULARY, np.nan, np.float32) if self._broken else self.model.logits(ids))
        states = (
            np.array([hidden_state(self._tokens[batch_slice.sequence]) for batch_slice in slices]) if hidden else None
        )
        return Decoded(
            np.array(rows) if rows else None, states, [1000 * len(batch_slice.ids) for batch_slice in slices]
        )


def hidden_state(ids: Sequence[int]) -> NDArray[np.float32]:
    """Stands in for the SLM's hidden state after some ids."""
    return np.array([len(ids), sum(ids), ids[-1]], np.float32)


class HiddenRouter(EntropyRouter):
    """Requests hidden states, and records them."""

    needs_hidden = True

    def __init__(self, tau: float) -> None:
        super().__init__(tau)
        self.seen: list[tuple[int, list[float]]] = []

    def route(self, observation: Observation) -> Role:
        if observation.role is Role.SLM:
            assert observation.hidden is not None
            self.seen.append((observation.position, observation.hidden.tolist()))
        else:
            assert observation.hidden is None
        return super().route(observation)


@dataclass(frozen=True)
class Question:
    """One trajectory: its prompt, router, limit and sampling."""

    prompt: Sequence[int]
    router: str = "entropy:0.5"
    max_tokens: int = 20
    sampling: Sampling = field(default_factory=Sampling)
    end: int = END

    def trajectory(self, seed: int, capacity: int) -> Trajectory:
        spec = "entropy:0.5" if self.router == "hidden" else self.router
        trajectory = make_trajectory(
            self.prompt,
            VOCABULARY,
            router=spec,
            end=self.end,
            max_tokens=self.max_tokens,
            sampling=self.sampling,
            seed=seed,
            capacity=capacity,
        )
        if self.router == "hidden":
            trajectory.router = HiddenRouter(0.5)
        return trajectory


class Scene:
    """A driver with two scripted models, and a reference that runs single trajectories without a driver."""

    def __init__(self, slots: int, seed: int = 0, **options: Any) -> None:
        self.seed = seed
        self.models = {role: ScriptedModel(VOCABULARY, f"{role}{seed}", 6.0) for role in Role}
        self.contexts = {role: ScriptedContext(self.models[role], slots, **options) for role in Role}
        self.driver = Driver(cast("dict[Role, Context]", self.contexts))

    def trajectory(self, question: Question) -> Trajectory:
        return question.trajectory(self.seed, self.contexts[Role.SLM].n_ctx)

    def sequence(self, question: Question, *, reuse: bool = False) -> ActiveSequence:
        return ActiveSequence(self.trajectory(question), Trace(self.seed), reuse)

    def alone(self, question: Question) -> tuple[Trajectory, list[Step], dict[Role, list[int]]]:
        """Run a trajectory without a driver; return it, its steps, and the tokens evaluated by kind."""
        trajectory = self.trajectory(question)
        usage = {role: [0, 0, 0] for role in Role}
        caches = {role: CheckedCache(self.models[role]) for role in Role}
        steps = []
        while trajectory.stop_reason is None:
            request = trajectory.request()
            count = len(request.ids) - request.prompt
            usage[request.role][0] += request.prompt
            usage[request.role][2 if count == 1 and not request.prompt else 1] += count
            logits = caches[request.role].evaluate(request.ids, trajectory.ids(request.role))
            hidden = hidden_state(caches[request.role].ids) if request.hidden else None
            step = trajectory.advance(logits, hidden)
            if step is not None:
                steps.append(step)
        return trajectory, steps, usage

    def check(self, sequence: ActiveSequence, step: Step | None) -> None:
        """Check that between two steps the KV caches hold prefixes of the live trajectories."""
        if sequence.trace.stop is None:
            for role, context in self.contexts.items():
                cached = sequence.trajectory.cached(role)
                assert context.tokens(sequence.sequence)[:cached] == list(sequence.trajectory.ids(role)[:cached])
                assert role is not (step.role if step else None) or context.length(sequence.sequence) == cached

    def run(
        self, sequences: Iterable[ActiveSequence], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[ActiveSequence, Step | None]]:
        for sequence, step in self.driver.steps(sequences, should_stop=should_stop):
            self.check(sequence, step)
            yield sequence, step


def summary(steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    return [(s.position, s.role, s.token, s.text, s.swap_entropy is None) for s in steps]


conversations = st.tuples(st.integers(0, 25), st.lists(st.integers(1, 28), min_size=1, max_size=25)).map(
    lambda drawn: [*range(1, drawn[0] + 1), *drawn[1]]
)
questions = st.builds(
    Question,
    prompt=conversations,
    router=st.sampled_from(["slm", "llm", "entropy:0.3", "entropy:0.5", "entropy:0.7", "random:0.5", "hidden"]),
    max_tokens=st.integers(1, 30),
    sampling=st.sampled_from([Sampling(), Sampling(1.0)]),
    end=st.sampled_from([END, NEVER]),
)
