"""The driver over scripted models: exact, so that one trajectory can be compared with many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CheckedCache, ScriptedModel, make_trajectory

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.trajectory import Step
from rstitch_local.engine.driver import Driver, Live
from rstitch_local.engine.trace import Trace
from rstitch_local.llama.context import Context, Output, Piece, Usage


class ScriptedContext:
    """Stands for llama/context.py: many caches over one scripted model, each piece an output."""

    def __init__(self, model: ScriptedModel, sequences: int) -> None:
        self.caches = [CheckedCache(model) for _ in range(sequences)]
        self.usage = [Usage() for _ in range(sequences)]
        self.calls = 0

    def length(self, sequence: int) -> int:
        return len(self.caches[sequence].ids)

    def truncate(self, sequence: int, length: int) -> int:
        del self.caches[sequence].ids[length:]
        return self.length(sequence)

    def evaluate(self, pieces: Sequence[Piece], *, stop: Callable[[], bool] | None = None) -> Iterator[Output]:
        del stop
        self.calls += 1
        for index, piece in enumerate(pieces):
            cache = self.caches[piece.sequence]
            self.usage[piece.sequence].add(piece, 0, len(piece.ids), 1000)
            yield Output(index, cache.evaluate(piece.ids, [*cache.ids, *piece.ids]), None, 1000)


def run(prompts: Sequence[Sequence[int]], tau: float, seed: int) -> tuple[list[list[tuple[Role, int]]], list[Trace]]:
    models = {role: ScriptedModel(30, f"{role}{seed}", 6.0) for role in Role}
    contexts = {role: ScriptedContext(models[role], len(prompts)) for role in Role}
    lives = []
    for sequence, prompt in enumerate(prompts):
        trajectory = make_trajectory(
            prompt, 30, router=f"entropy:{tau!r}", max_tokens=25, sampling=Sampling(1.0), seed=seed
        )
        lives.append(Live(trajectory, Trace(seed), sequence))
    kept: dict[int, list[tuple[Role, int]]] = {sequence: [] for sequence in range(len(prompts))}
    for live, step in Driver(cast("dict[Role, Context]", contexts)).steps(lives):
        kept[live.sequence].append((step.role, step.token))
    for live in lives:
        for role in Role:
            cache = contexts[role].caches[live.sequence]
            assert cache.ids == list(live.trajectory.ids(role)[: len(cache.ids)])
            # Everything that was evaluated is in the cache, so nothing was evaluated twice.
            assert sum(live.trace.usage[role].tokens) == len(cache.ids)
    return [kept[sequence] for sequence in range(len(prompts))], [live.trace for live in lives]


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
    lives = [Live(make_trajectory([1, i], 30, router="slm", end=99, max_tokens=10), Trace(0), i) for i in range(5)]
    assert len(list(Driver(cast("dict[Role, Context]", contexts)).steps(lives))) == 50
    assert (contexts[Role.SLM].calls, contexts[Role.LLM].calls) == (10, 0)


def test_a_stop_ends_all_and_keeps_what_there_is() -> None:
    models = {role: ScriptedModel(30, role, 6.0) for role in Role}
    contexts = {role: ScriptedContext(models[role], 2) for role in Role}
    lives = [Live(make_trajectory([1], 30, router="slm", end=99), Trace(0), i) for i in range(2)]
    kept: list[Step] = []
    for _, step in Driver(cast("dict[Role, Context]", contexts)).steps(lives, stop=lambda: len(kept) >= 6):
        kept.append(step)
    assert len(kept) == 6
    assert [live.trace.stop for live in lives] == ["interrupted"] * 2
    assert [len(live.trace.steps) for live in lives] == [3, 3]
