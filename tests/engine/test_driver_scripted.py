"""The driver over scripted models: exact, so that one trajectory can be compared with many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CheckedCache, ScriptedModel, make_trajectory

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.trajectory import Step
from rstitch_local.engine.driver import Driver, Live
from rstitch_local.engine.trace import Trace
from rstitch_local.errors import CacheFullError
from rstitch_local.llama.context import Context, Decoded, Part, common_length


@dataclass(frozen=True)
class Width:
    """All a driver wants to know of the weights."""

    n_vocab: int


class ScriptedContext:
    """Stands for llama/context.py: many caches over one scripted model."""

    def __init__(self, model: ScriptedModel, sequences: int, *, n_batch: int = 64, cells: int | None = None) -> None:
        self.model = model
        self.caches = [CheckedCache(model) for _ in range(sequences)]
        self.weights = Width(model.n_vocab)
        self.n_seq_max = sequences
        self.n_ctx = 100
        self.cells = cells or self.n_ctx * sequences
        self.n_batch = max(n_batch, 2 * sequences)
        self.calls: list[list[Part]] = []

    @property
    def used(self) -> int:
        return sum(len(cache.ids) for cache in self.caches)

    def length(self, sequence: int) -> int:
        return len(self.caches[sequence].ids)

    def truncate(self, sequence: int, length: int) -> int:
        del self.caches[sequence].ids[length:]
        return self.length(sequence)

    def common(self, ids: Sequence[int]) -> tuple[int, int]:
        lengths = [min(common_length(cache.ids, ids), len(ids) - 1) for cache in self.caches]
        best = lengths.index(max(lengths))
        return best, lengths[best]

    def begin(self, sequence: int, ids: Sequence[int]) -> int:
        _, length = self.common(ids)
        self.caches[sequence].ids[:] = ids[:length]
        return length

    def decode(self, parts: Sequence[Part], *, hidden: bool = False) -> Decoded:
        assert not hidden
        assert len({part.sequence for part in parts}) == len(parts)
        wanted = sum(len(part.ids) for part in parts)
        assert wanted <= self.n_batch
        if self.used + wanted > self.cells:
            raise CacheFullError("The cache is full", "No room.")
        self.calls.append(list(parts))
        rows = []
        for part in parts:
            cache = self.caches[part.sequence]
            logits = cache.evaluate(part.ids, [*cache.ids, *part.ids])
            if part.output:
                rows.append(logits)
        return Decoded(np.array(rows) if rows else None, None, [1000 * len(part.ids) for part in parts])


def run(prompts: Sequence[Sequence[int]], tau: float, seed: int) -> tuple[list[list[tuple[Role, int]]], list[Trace]]:
    models = {role: ScriptedModel(30, f"{role}{seed}", 6.0) for role in Role}
    contexts = {role: ScriptedContext(models[role], len(prompts)) for role in Role}
    lives = []
    for prompt in prompts:
        trajectory = make_trajectory(
            prompt, 30, router=f"entropy:{tau!r}", max_tokens=25, sampling=Sampling(1.0), seed=seed
        )
        lives.append(Live(trajectory, Trace(seed)))
    kept: dict[int, list[tuple[Role, int]]] = {id(live): [] for live in lives}
    for live, step in Driver(cast("dict[Role, Context]", contexts)).steps(lives):
        if step is not None:
            kept[id(live)].append((step.role, step.token))
    for live in lives:
        for role in Role:
            cache = contexts[role].caches[live.sequence]
            assert cache.ids == list(live.trajectory.ids(role)[: len(cache.ids)])
            # Everything that was evaluated is in the cache, so nothing was evaluated twice.
            assert sum(live.trace.usage[role].tokens) == len(cache.ids)
    return [kept[id(live)] for live in lives], [live.trace for live in lives]


@settings(deadline=None, max_examples=40)
@given(
    prompts=st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=4), min_size=1, max_size=6),
    tau=st.floats(-0.1, 1.1),
    seed=st.integers(0, 99),
)
def test_many_at_once_are_what_each_is_alone(prompts: list[list[int]], tau: float, seed: int) -> None:
    together, traces = run(prompts, tau, seed)
    assert together == [run([prompt], tau, seed)[0][0] for prompt in prompts]
    for kept, trace in zip(together, traces, strict=True):
        assert trace.stop in ("eog", "length")
        assert [(step.role, step.token) for step in trace.steps] == kept
        assert trace.tokens == {role: sum(r is role for r, _ in kept) for role in Role}


def test_a_round_is_one_call_a_model() -> None:
    models = {role: ScriptedModel(30, role, 6.0) for role in Role}
    contexts = {role: ScriptedContext(models[role], 5) for role in Role}
    lives = [Live(make_trajectory([1, i], 30, router="slm", end=99, max_tokens=10), Trace(0)) for i in range(5)]
    assert len(list(Driver(cast("dict[Role, Context]", contexts)).steps(lives))) == 50
    assert (len(contexts[Role.SLM].calls), len(contexts[Role.LLM].calls)) == (10, 0)


def test_a_stop_ends_all_and_keeps_what_there_is() -> None:
    models = {role: ScriptedModel(30, role, 6.0) for role in Role}
    contexts = {role: ScriptedContext(models[role], 2) for role in Role}
    lives = [Live(make_trajectory([1], 30, router="slm", end=99), Trace(0)) for _ in range(2)]
    kept: list[Step] = []
    for _, step in Driver(cast("dict[Role, Context]", contexts)).steps(lives, stop=lambda: len(kept) >= 6):
        assert step is not None
        kept.append(step)
    assert len(kept) == 6
    assert [live.trace.stop for live in lives] == ["interrupted"] * 2
    assert [len(live.trace.steps) for live in lives] == [3, 3]
