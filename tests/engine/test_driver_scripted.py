"""The driver over scripted models: exact, so that one trajectory can be compared with many."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted import CheckedCache, ScriptedModel, make_trajectory, run_to_end

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.engine.driver import Driver
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import CacheFullError, EngineError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.llama.sequence_cache import common_length
from rstitch_local.routing.rules import EntropyRouter
from rstitch_local.trace.record import Trace

VOCABULARY = 30
END = 0
NEVER = 99
"""A token that no model writes: answers that end with it only end when they have the length they may have."""

BROKEN = 29
"""A token after which a model is broken, where it can break at all."""


@dataclass(frozen=True)
class Width:
    """All a driver wants to know of the weights."""

    n_vocab: int


class ScriptedContext:
    """Stands for llama/context.py: many caches over one scripted model, in one store of cells.

    breaks: whether `BROKEN` makes the logits NaN, and with it those of all who share the store, until it is cleared.
    """

    def __init__(
        self,
        model: ScriptedModel,
        sequences: int,
        *,
        n_ctx: int = 100,
        n_batch: int = 64,
        cells: int | None = None,
        breaks: bool = False,
    ) -> None:
        self.model = model
        self.weights = Width(model.n_vocab)
        self.n_seq_max = sequences
        self.n_ctx = n_ctx
        self.kv_cells = cells or n_ctx * sequences
        self.n_batch = max(n_batch, 2 * sequences)
        self.outputs = min(self.n_batch, sequences + 3)
        self.calls: list[list[BatchSlice]] = []
        self.hidden: list[bool] = []
        self.most_used = 0
        self._breaks = breaks
        self._broken = False
        self._held: list[list[int]] = [[] for _ in range(sequences)]
        # Which cell each token lies in; cells of a common beginning are the same ones.
        self._places: list[list[int]] = [[] for _ in range(sequences)]
        self._fresh = itertools.count()

    @property
    def used_cells(self) -> int:
        return len(set(itertools.chain.from_iterable(self._places)))

    def length(self, sequence: int) -> int:
        return len(self._held[sequence])

    def tokens(self, sequence: int) -> list[int]:
        return self._held[sequence]

    def truncate(self, sequence: int, length: int) -> int:
        del self._held[sequence][length:]
        del self._places[sequence][length:]
        return self.length(sequence)

    def clear(self) -> None:
        self._broken = False
        for sequence in range(self.n_seq_max):
            self.truncate(sequence, 0)

    def longest_prefix(self, ids: Sequence[int]) -> tuple[int, int]:
        lengths = [min(common_length(held, ids), len(ids) - 1) for held in self._held]
        best = lengths.index(max(lengths))
        return best, lengths[best]

    def reuse_prefix(self, sequence: int, ids: Sequence[int]) -> int:
        source, length = self.longest_prefix(ids)
        self._held[sequence] = list(ids[:length])
        self._places[sequence] = self._places[source][:length]
        return length

    def decode(self, parts: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        wanted = sum(len(part.ids) for part in parts)
        assert 0 < wanted <= self.n_batch
        assert all(part.ids for part in parts)
        assert len({part.sequence for part in parts}) == len(parts)
        assert not hidden or (all(part.outputs for part in parts) and wanted <= self.outputs)
        if self.used_cells + wanted > self.kv_cells:
            raise CacheFullError("The cache is full", "No room.")
        self.calls.append(list(parts))
        self.hidden.append(hidden)
        rows = []
        for part in parts:
            self._held[part.sequence] += part.ids
            self._places[part.sequence] += itertools.islice(self._fresh, len(part.ids))
            self._broken |= self._breaks and BROKEN in part.ids
        self.most_used = max(self.most_used, self.used_cells)
        for part in parts:
            ids = self._held[part.sequence]
            assert len(ids) <= self.n_ctx
            if part.outputs:
                rows.append(np.full(VOCABULARY, np.nan, np.float32) if self._broken else self.model.logits(ids))
        states = np.array([hidden_state(self._held[part.sequence]) for part in parts]) if hidden else None
        return Decoded(np.array(rows) if rows else None, states, [1000 * len(part.ids) for part in parts])


def hidden_state(ids: Sequence[int]) -> NDArray[np.float32]:
    """Stands for the SLM's hidden state after some ids."""
    return np.array([len(ids), sum(ids), ids[-1]], np.float32)


class HiddenRouter(EntropyRouter):
    """Asks for hidden states, and notes them."""

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
    """One trajectory to be: what it begins with, who decides, how many tokens it may have."""

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
    """A driver over two scripted models, and what one trajectory alone writes with them."""

    def __init__(self, slots: int, seed: int = 0, **options: Any) -> None:
        self.seed = seed
        self.models = {role: ScriptedModel(VOCABULARY, f"{role}{seed}", 6.0) for role in Role}
        self.contexts = {role: ScriptedContext(self.models[role], slots, **options) for role in Role}
        self.driver = Driver(cast("dict[Role, Context]", self.contexts))

    def trajectory(self, question: Question) -> Trajectory:
        return question.trajectory(self.seed, self.contexts[Role.SLM].n_ctx)

    def live(self, question: Question, *, reuse: bool = False) -> ActiveSequence:
        return ActiveSequence(self.trajectory(question), Trace(self.seed), reuse)

    def alone(self, question: Question) -> tuple[Trajectory, list[Step], dict[Role, list[int]]]:
        """Without a driver: the trajectory at its end, its steps, and the tokens evaluated by kind."""
        trajectory = self.trajectory(question)
        usage = {role: [0, 0, 0] for role in Role}
        caches = {role: CheckedCache(self.models[role]) for role in Role}
        steps = []
        while trajectory.stop_reason is None:
            need = trajectory.request()
            count = len(need.ids) - need.prompt
            usage[need.role][0] += need.prompt
            usage[need.role][2 if count == 1 and not need.prompt else 1] += count
            logits = caches[need.role].evaluate(need.ids, trajectory.ids(need.role))
            hidden = hidden_state(caches[need.role].ids) if need.hidden else None
            step = trajectory.advance(logits, hidden)
            if step is not None:
                steps.append(step)
        return trajectory, steps, usage

    def check(self, live: ActiveSequence, step: Step | None) -> None:
        """Between two steps the caches hold the beginnings of the trajectories that are live."""
        if live.trace.stop is None:
            for role, context in self.contexts.items():
                cached = live.trajectory.cached(role)
                assert context.tokens(live.sequence)[:cached] == list(live.trajectory.ids(role)[:cached])
                assert role is not (step.role if step else None) or context.length(live.sequence) == cached

    def run(
        self, lives: Iterable[ActiveSequence], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[ActiveSequence, Step | None]]:
        for live, step in self.driver.steps(lives, should_stop=should_stop):
            self.check(live, step)
            yield live, step


def told(steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    return [(s.position, s.role, s.token, s.text, s.swap_entropy is None) for s in steps]


conversations = st.tuples(st.integers(0, 25), st.lists(st.integers(1, 28), min_size=1, max_size=25)).map(
    lambda found: [*range(1, found[0] + 1), *found[1]]
)
questions = st.builds(
    Question,
    prompt=conversations,
    router=st.sampled_from(["slm", "llm", "entropy:0.3", "entropy:0.5", "entropy:0.7", "random:0.5", "hidden"]),
    max_tokens=st.integers(1, 30),
    sampling=st.sampled_from([Sampling(), Sampling(1.0)]),
    end=st.sampled_from([END, NEVER]),
)


@settings(deadline=None, max_examples=120)
@given(
    asked=st.lists(questions, min_size=1, max_size=9),
    slots=st.integers(1, 6),
    n_batch=st.integers(2, 64),
    cells=st.one_of(st.none(), st.integers(80, 200)),
    reuse=st.booleans(),
    policy=st.one_of(st.none(), st.integers(0, 99)),
    seed=st.integers(0, 99),
)
def test_each_writes_its_own_answer_however_many_there_are(
    asked: list[Question], slots: int, n_batch: int, cells: int | None, reuse: bool, policy: int | None, seed: int
) -> None:
    scene = Scene(slots, seed, n_ctx=80, n_batch=n_batch, cells=cells)
    if policy is not None:
        # Whoever says which model runs, the answers are the same.
        rng = random.Random(policy)
        scene.driver.next_model = lambda ready: rng.choice([role for role in Role if ready[role]])
    lives = [scene.live(question, reuse=reuse) for question in asked]
    kept: dict[int, list[Step]] = {id(live): [] for live in lives}
    ended: set[int] = set()
    for live, step in scene.run(lives):
        assert id(live) not in ended
        if step is not None:
            kept[id(live)].append(step)
        if live.trace.stop is not None:
            ended.add(id(live))
        status = scene.driver.status()
        assert status.active + status.preempted <= status.slots == slots
        assert sum(status.waiting.values()) == status.active
    for live, question in zip(lives, asked, strict=True):
        trajectory, steps, usage = scene.alone(question)
        assert told(kept[id(live)]) == told(steps) == told(live.trace.steps)
        assert [s.entropy for s in live.trace.steps] == pytest.approx([s.entropy for s in steps], abs=1e-6)
        assert live.error is None
        assert live.trace.stop == trajectory.stop_reason
        assert (live.trace.swaps_up, live.trace.swaps_down) == (trajectory.swaps_up, trajectory.swaps_down)
        assert live.trace.tokens == {role: trajectory.tokens(role) for role in Role}
        counted = {role: live.trace.usage[role].tokens for role in Role}
        assert sum(step.evaluated_tokens for step in steps) == sum(map(sum, usage.values()))
        assert sum(step.evaluated_tokens for step in live.trace.steps) == sum(map(sum, counted.values()))
        if cells is None and not reuse:
            assert counted == usage
        elif cells is None:
            assert all(sum(counted[role]) <= sum(usage[role]) for role in Role)
        if isinstance(trajectory.router, HiddenRouter):
            assert cast("HiddenRouter", live.trajectory.router).seen == trajectory.router.seen
    assert ended == set(kept)
    for context in scene.contexts.values():
        assert context.most_used <= context.kv_cells
    scene.driver.require_idle()


def test_the_next_one_is_taken_when_there_is_a_slot_for_it() -> None:
    scene = Scene(3)
    lengths = [3, 9, 6, 1, 1, 5, 2, 8]
    taken: list[ActiveSequence] = []
    ended = 0

    def source() -> Iterator[ActiveSequence]:
        for length in lengths:
            assert len(taken) - ended < 3
            taken.append(scene.live(Question([1, 2], "slm", length, end=NEVER)))
            yield taken[-1]

    for live, _ in scene.run(source()):
        ended += live.trace.stop is not None
    assert (len(taken), ended) == (8, 8)
    # A slot that is free is in use again on the next turn.
    busy: list[int] = []
    sizes = []
    while lengths or busy:
        while lengths and len(busy) < 3:
            busy.append(lengths.pop(0))
        sizes.append(len(busy))
        busy = [left - 1 for left in busy if left > 1]
    assert [len(call) for call in scene.contexts[Role.SLM].calls] == sizes


def test_no_trajectory_is_asked_for_before_the_first_step() -> None:
    scene = Scene(2)
    steps = scene.driver.steps(pytest.fail("taken") for _ in range(1))
    assert list(scene.driver.steps([])) == []
    del steps


def test_others_go_on_while_a_long_prompt_comes_in() -> None:
    scene = Scene(4, n_ctx=300, n_batch=16)
    short = [Question([1, i], "slm", 40, end=NEVER) for i in range(3)]
    long = Question([5] * 70, "slm", 5, end=NEVER)
    lives = [scene.live(question) for question in (*short, long)]
    written = {id(live): 0 for live in lives}
    for live, _ in scene.run(lives):
        written[id(live)] += 1
        if live is lives[3] and written[id(live)] == 1:
            break
    # Three tokens go to the others in each batch of 16, at first their prompts of two tokens.
    chunks = -(-(70 - 10) // 13) + 1
    assert list(written.values()) == [chunks] * 3 + [1]
    assert [len(call) for call in scene.contexts[Role.SLM].calls] == [4] * chunks
    assert [call[-1].outputs for call in scene.contexts[Role.SLM].calls] == [False] * (chunks - 1) + [True]


def test_others_go_on_while_a_long_prompt_comes_in_where_hidden_states_are_wanted() -> None:
    scene = Scene(4, n_ctx=300, n_batch=16)
    lives = [scene.live(Question([1, i], "hidden", 60, end=NEVER)) for i in range(3)]
    for live in lives:
        cast("HiddenRouter", live.trajectory.router).tau = 1.0
    lives.append(scene.live(Question([5] * 160, "hidden", 5, end=NEVER)))
    written = {id(live): 0 for live in lives}
    for live, _ in scene.run(lives):
        written[id(live)] += 1
        if live is lives[3]:
            break
    # At least one of every second batch is theirs.
    assert min(written[id(live)] for live in lives[:3]) >= 160 // 16 // 2


def test_those_who_want_no_hidden_states_are_not_forgotten_beside_those_who_do() -> None:
    scene = Scene(4)
    plain = scene.live(Question([1, 2], "slm", 10, end=NEVER))
    others = [scene.live(Question([1, i], "hidden", 60, end=NEVER)) for i in range(3)]
    for live in others:
        cast("HiddenRouter", live.trajectory.router).tau = 1.0
    written = 0
    for live, _ in scene.run([plain, *others]):
        written += live is not plain
        if plain.trace.stop is not None:
            break
    assert written < 3 * 30


def test_catch_ups_are_no_single_tokens_however_they_are_cut() -> None:
    # So small are the batches that catch-ups seldom fit, and sometimes one token is left of them.
    left_over = 0
    for n_batch in range(8, 16):
        scene = Scene(4, n_batch, n_batch=n_batch)
        asked = [Question([1, i], "random:0.5", 60, end=NEVER) for i in range(4)]
        lives = [scene.live(question) for question in asked]
        for _ in scene.run(lives):
            pass
        for live, question in zip(lives, asked, strict=True):
            assert {role: live.trace.usage[role].tokens for role in Role} == scene.alone(question)[2]
        parts = [part for context in scene.contexts.values() for call in context.calls for part in call]
        assert any(not part.outputs for part in parts)
        left_over += sum(part.outputs and len(part.ids) == 1 and not part.single for part in parts)
    assert left_over > 0


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("cells", [80, 100, 150])
def test_where_cells_are_scarce_the_youngest_waits_and_nobody_is_lost(cells: int, reuse: bool) -> None:
    scene = Scene(5, 3, n_ctx=80, cells=cells)
    # The first are short, so that many are let in; the others are longer than anybody expected.
    asked = [Question([i], "entropy:0.5", 2 if i < 4 else 60 - i, end=NEVER) for i in range(1, 12)]
    lives = [scene.live(question, reuse=reuse) for question in asked]
    most_put_back = 0

    def source() -> Iterator[ActiveSequence]:
        for live in lives:
            assert scene.driver.status().preempted == 0, "somebody new comes before those who were here already"
            yield live

    for live, _ in scene.run(source()):
        most_put_back = max(most_put_back, scene.driver.status().preempted)
        assert live.trace.swaps_up == live.trajectory.swaps_up
    assert most_put_back > 0
    again = []
    for live, question in zip(lives, asked, strict=True):
        _, steps, usage = scene.alone(question)
        assert told(live.trace.steps) == told(steps)
        assert live.error is None
        again.append(sum(sum(live.trace.usage[role].tokens) for role in Role) > sum(map(sum, usage.values())))
    # Somebody was begun again, so more was evaluated than is in the answers; but never the oldest.
    assert any(again)
    assert not again[3]


def test_those_who_were_put_back_come_in_the_order_they_came_in_first() -> None:
    scene = Scene(5, n_ctx=80, cells=100)
    lives = [scene.live(Question([i], "slm", 2 if i < 4 else 50, end=NEVER)) for i in range(1, 12)]
    most, ended = 0, []
    before = dict.fromkeys(map(id, lives), 0.0)
    for live, _ in scene.run(lives):
        most = max(most, scene.driver.status().preempted)
        # Its time goes on while it waits.
        assert live.trace.wall_ms >= before[id(live)]
        before[id(live)] = live.trace.wall_ms
        ended += [live] if live.trace.stop is not None else []
    assert most > 1
    assert ended == lives


def test_two_long_prompts_come_in_by_turns() -> None:
    scene = Scene(3, n_ctx=300, n_batch=16)
    lives = [scene.live(Question([i] * 100, "slm", 3, end=NEVER)) for i in (5, 6)]
    for _ in scene.run(lives):
        break
    whose = [[part.sequence for part in call] for call in scene.contexts[Role.SLM].calls]
    assert whose[:10] == [[0], [1]] * 5


def test_as_long_as_nothing_has_ended_there_is_room_for_whatever_may_come() -> None:
    # 100 cells, and each may need 5 + 40: two can be let in without anybody ever being put back.
    scene = Scene(5, n_ctx=80, cells=100)
    lives = [scene.live(Question([i] * 5, "slm", 40, end=NEVER)) for i in range(1, 6)]
    most = 0
    for live, _ in scene.run(lives):
        if not any(other.trace.stop for other in lives):
            most = max(most, scene.driver.status().active)
        if live.trace.stop is not None:
            assert sum(live.trace.usage[Role.SLM].tokens) == 5 + 39
    assert most == 2


def test_what_is_left_of_others_makes_room_first() -> None:
    # Sequences that nobody uses any more hold their tokens, for somebody to go on from, until the cells are wanted.
    scene = Scene(3, n_ctx=80, cells=80)
    for i in range(1, 4):
        (live,) = [scene.live(Question([i] * 20, "slm", 5, end=NEVER))]
        assert len(list(scene.run([live, scene.live(Question([i, i, i], "slm", 3, end=NEVER))]))) == 8
    assert scene.contexts[Role.SLM].used_cells > 20
    last = scene.live(Question([9] * 40, "slm", 41, end=NEVER))
    assert len(list(scene.run([last]))) == 41
    assert sum(last.trace.usage[Role.SLM].tokens) == 80


def test_one_that_does_not_fit_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(2)

    def full(*_: object, **__: object) -> Decoded:
        raise CacheFullError("The cache is full", "Not even one.")

    monkeypatch.setattr(scene.contexts[Role.SLM], "decode", full)
    lives = [scene.live(Question([1, i])) for i in range(3)]
    with pytest.raises(CacheFullError):
        list(scene.run(lives))
    assert [live.trace.stop for live in lives] == ["error", "error", None]
    scene.driver.require_idle()


def test_where_llama_cpp_finds_no_room_though_it_was_counted_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(3, 1)
    decode, calls = scene.contexts[Role.SLM].decode, itertools.count()

    def sometimes_full(parts: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        if next(calls) in (4, 5, 20):
            raise CacheFullError("The cache is full", "Fragments.")
        return decode(parts, hidden=hidden)

    monkeypatch.setattr(scene.contexts[Role.SLM], "decode", sometimes_full)
    asked = [Question([1, i], "entropy:0.5", 25, end=NEVER) for i in range(4)]
    lives = [scene.live(question) for question in asked]
    for _ in scene.run(lives):
        pass
    for live, question in zip(lives, asked, strict=True):
        assert told(live.trace.steps) == told(scene.alone(question)[1])


def test_a_common_beginning_is_evaluated_once() -> None:
    scene = Scene(4, n_batch=16)
    system = [3] * 40
    lives = [scene.live(Question([*system, i, i], "entropy:0.5", 10, end=NEVER), reuse=True) for i in range(4, 12)]
    for _ in scene.run(lives):
        pass
    for role in Role:
        prompts = [live.trace.usage[role].tokens[0] for live in lives if live.trace.usage[role].tokens[0]]
        assert sorted(prompts) == [2] * (len(prompts) - 1) + [42]
    assert sum(live.trace.usage[Role.SLM].tokens[0] for live in lives) == 42 + 7 * 2


def test_nobody_waits_for_a_beginning_that_is_short_or_not_asked_for() -> None:
    for common, reuse, first in ((15, True, 4), (40, False, 4), (16, True, 1)):
        scene = Scene(4, n_batch=1000)
        lives = [scene.live(Question([*[3] * common, i], "slm", 3, end=NEVER), reuse=reuse) for i in range(4, 8)]
        for _ in scene.run(lives):
            pass
        calls = scene.contexts[Role.SLM].calls
        assert len(calls[0]) == first
        assert len(calls) == (3 if first == 4 else 4)


def test_who_waits_for_a_beginning_goes_on_when_the_one_before_is_gone() -> None:
    # The first is stopped by broken logits, before its prompt is in the cache.
    scene = Scene(3, n_batch=16, breaks=True)
    system = [3] * 40
    bad = Question([*system, BROKEN, 7], "slm", 3, end=NEVER)
    good = [Question([*system, i, 7], "slm", 3, end=NEVER) for i in (4, 5, 6)]
    lives = [scene.live(question, reuse=True) for question in (bad, *good)]
    for _ in scene.run(lives):
        pass
    assert [live.trace.stop for live in lives] == ["error", "length", "length", "length"]


@settings(deadline=None, max_examples=40)
@given(
    asked=st.lists(st.tuples(questions, st.booleans()), min_size=1, max_size=7),
    slots=st.integers(1, 5),
    n_batch=st.integers(2, 64),
    cells=st.sampled_from([None, 100]),
    reuse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_broken_logits_end_one_and_leave_the_others_alone(
    asked: list[tuple[Question, bool]], slots: int, n_batch: int, cells: int | None, reuse: bool, seed: int
) -> None:
    scene = Scene(slots, seed, n_ctx=80, n_batch=n_batch, cells=cells, breaks=True)
    # Some bring the token that breaks them along. What is written may hold it as well.
    wanted = [
        Question([*question.prompt, BROKEN, 1], question.router, question.max_tokens) if bad else question
        for question, bad in asked
    ]
    lives = [scene.live(question, reuse=reuse) for question in wanted]
    ended = [live for live, _ in scene.run(lives) if live.trace.stop is not None]
    assert sorted(map(id, ended)) == sorted(map(id, lives))
    for live, question, (_, bad) in zip(lives, wanted, asked, strict=True):
        trajectory, steps, _ = scene.alone(question)
        if bad:
            assert (live.trace.stop, live.trace.steps) == ("error", [])
            assert "position 0: The logit of token 0 is nan" in str(live.error)
            continue
        if BROKEN in [step.token for step in steps]:
            steps = steps[: [step.token for step in steps].index(BROKEN) + 1]
        assert told(live.trace.steps) == told(steps)
        if len(steps) == trajectory.position:
            assert (live.trace.stop, live.error) == (trajectory.stop_reason, None)
        else:
            assert live.trace.stop == "error"
            assert f"position {len(steps)}" in str(live.error)


def test_a_stop_ends_all_and_keeps_what_there_is() -> None:
    scene = Scene(2)
    taken: list[ActiveSequence] = []

    def source() -> Iterator[ActiveSequence]:
        while True:
            taken.append(scene.live(Question([1], "slm", 50, end=NEVER)))
            yield taken[-1]

    kept: list[Step] = []
    for _, step in scene.run(source(), should_stop=lambda: len(kept) >= 6):
        assert step is not None
        kept.append(step)
    assert len(kept) == 6
    assert [live.trace.stop for live in taken] == ["interrupted"] * 2
    assert [len(live.trace.steps) for live in taken] == [3, 3]
    assert scene.driver.status().active == 0


def test_a_stop_between_two_batches_of_a_prompt_keeps_what_was_evaluated() -> None:
    scene = Scene(1, n_ctx=300, n_batch=16)
    live = scene.live(Question([5] * 100, "slm"))
    looks = itertools.count()
    assert list(scene.run([live], should_stop=lambda: next(looks) == 3)) == []
    assert live.trace.stop == live.trajectory.stop_reason == "interrupted"
    assert live.trajectory.cached(Role.SLM) == 48 == scene.contexts[Role.SLM].length(0)
    assert live.trace.usage[Role.SLM].tokens == [48, 0, 0]
    assert live.trace.usage[Role.SLM].ns == [48_000, 0, 0]
    # Who goes on from there evaluates the rest.
    again = scene.live(Question([5] * 100, "slm", 3, end=NEVER), reuse=True)
    assert len(list(scene.run([again]))) == 3
    assert again.trace.usage[Role.SLM].tokens == [52, 0, 2]


def test_a_stop_that_is_there_already_takes_nobody() -> None:
    scene = Scene(2)
    assert list(scene.driver.steps((pytest.fail("taken") for _ in range(1)), should_stop=lambda: True)) == []


def test_a_stop_also_ends_those_that_were_put_back() -> None:
    scene = Scene(4, n_ctx=80, cells=80)
    lives = [scene.live(Question([i], "slm", 3 if i == 1 else 60, end=NEVER)) for i in range(1, 6)]
    for _ in scene.run(
        lives, should_stop=lambda: scene.driver.status().preempted > 0 and lives[1].trace.tokens[Role.SLM] > 30
    ):
        pass
    stops = [live.trace.stop for live in lives]
    assert stops[0] == "length"
    assert set(stops[1:]) <= {"interrupted", None}
    begun = [live for live in lives[1:] if live.trace.steps]
    assert len(begun) > 1
    assert all(live.trace.stop == "interrupted" for live in begun)
    assert scene.driver.status().preempted == 0


@pytest.mark.parametrize("error", [EngineError("No", "Not this one."), RuntimeError("no"), KeyboardInterrupt()])
def test_an_exception_in_the_source_ends_all_that_are_open(error: BaseException) -> None:
    scene = Scene(3)
    lives = [scene.live(Question([i], "slm", 2 + i, end=NEVER)) for i in range(3)]

    def source() -> Iterator[ActiveSequence]:
        yield from lives
        raise error

    with pytest.raises(type(error)):
        list(scene.run(source()))
    ending = "error" if isinstance(error, EngineError) else "interrupted"
    assert [live.trace.stop for live in lives] == ["length", ending, ending]
    assert [len(live.trace.steps) for live in lives] == [2, 2, 2]
    # And the driver is free for others.
    assert len(list(scene.run([scene.live(Question([1], "slm", 4, end=NEVER))]))) == 4


def test_an_exception_of_the_caller_ends_all_that_are_open() -> None:
    scene = Scene(2)
    lives = [scene.live(Question([i], "slm", 9, end=NEVER)) for i in range(2)]
    with pytest.raises(ZeroDivisionError):
        sum(1 / (3 - len(live.trace.steps)) for live, _ in scene.driver.steps(lives))
    assert [live.trace.stop for live in lives] == ["interrupted"] * 2
    scene.driver.require_idle()


def test_a_caller_who_turns_away_interrupts() -> None:
    scene = Scene(2)
    lives = [scene.live(Question([i], "slm", 9, end=NEVER)) for i in range(3)]
    steps = scene.driver.steps(lives)
    next(steps)
    # The second one has its first token as well, though nobody has asked for it.
    steps.close()  # type: ignore[attr-defined]
    assert [live.trace.stop for live in lives] == ["interrupted", "interrupted", None]
    assert [len(live.trace.steps) for live in lives] == [1, 1, 0]


def test_it_is_busy_until_the_end() -> None:
    scene = Scene(2)
    steps = scene.driver.steps([scene.live(Question([1], "slm", 3, end=NEVER))])
    scene.driver.require_idle()
    next(steps)
    late = scene.live(Question([2]))
    with pytest.raises(EngineError, match="busy"):
        next(scene.driver.steps([late]))
    with pytest.raises(EngineError, match="busy"):
        scene.driver.require_idle()
    # Nothing happened to either.
    assert late.trace.stop is None
    assert len(list(steps)) == 2
    scene.driver.require_idle()
    assert len(list(scene.driver.steps([scene.live(Question([2], "slm", 3, end=NEVER))]))) == 3


def test_a_round_is_one_call_a_model() -> None:
    scene = Scene(5)
    lives = [scene.live(Question([1, i], "slm", 10, end=NEVER)) for i in range(5)]
    assert len(list(scene.run(lives))) == 50
    assert [len(scene.contexts[role].calls) for role in Role] == [10, 0]


def test_one_that_is_at_its_end_already_is_told_and_left_as_it_is() -> None:
    scene = Scene(2)
    whole = scene.live(Question([1, 2], "slm", 5, end=NEVER))
    list(scene.run([whole]))
    record = whole.trace.to_dict()
    kept = make_trajectory([1, 2], VOCABULARY, router="slm", end=NEVER, max_tokens=5, resume_steps=whole.trace.steps)
    at_its_end = ActiveSequence(kept, Trace(0, steps=list(kept.resumed), resumed_tokens=5))
    other = scene.live(Question([3], "slm", 4, end=NEVER))
    found = [(live, step is None) for live, step in scene.run([whole, at_its_end, other])]
    assert found == [(whole, True), (at_its_end, True), *[(other, False)] * 4]
    assert whole.trace.to_dict() == record
    assert (at_its_end.trace.stop, at_its_end.trace.wall_ms, at_its_end.trace.ttft_ms) == ("length", 0.0, None)


class Clock:
    """Stands for time.perf_counter_ns: a millisecond goes by at every look."""

    def __init__(self) -> None:
        self.now = 5_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


@pytest.mark.parametrize("slots", [1, 4])
def test_shares_of_the_time_add_up_to_all_of_it(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter_ns", clock)
    scene = Scene(slots)
    lives = [scene.live(Question([1, i], "entropy:0.5", 12, end=NEVER)) for i in range(6)]
    before = clock.now
    steps = list(scene.run(lives))
    spent = (clock.now - before) / 1e6
    # All but the first look, before anybody was there.
    assert sum(live.trace.busy_ms for live in lives) == pytest.approx(spent - 1)
    assert len(steps) == 72
    for live in lives:
        trace = live.trace
        assert trace.ttft_ms is not None
        assert 0 < trace.ttft_ms < trace.wall_ms
        if slots > 1:
            assert trace.busy_ms < trace.wall_ms
        assert sum(step.ms for step in trace.steps) == pytest.approx(trace.model_ms)


def test_the_status_says_who_waits_for_what() -> None:
    scene = Scene(4)
    lives = [scene.live(Question([1, i], "llm" if i else "slm", 9, end=NEVER)) for i in range(3)]
    assert scene.driver.status().active == 0
    steps = scene.driver.steps(lives)
    next(steps)
    status = scene.driver.status()
    assert (status.active, status.slots, status.preempted) == (3, 4, 0)
    assert status.waiting == {Role.SLM: 1, Role.LLM: 2}
    list(steps)
    assert scene.driver.status().waiting == {Role.SLM: 0, Role.LLM: 0}


def test_a_model_that_fewer_wait_for_has_its_turn() -> None:
    scene = Scene(4)
    lone = scene.live(Question([1], "slm", 20, end=NEVER))
    others = [scene.live(Question([1, i], "llm", 1000, end=NEVER)) for i in range(3)]
    for live in others:
        live.trajectory._sides[Role.LLM].capacity = 1000
    scene.contexts[Role.LLM].n_ctx = scene.contexts[Role.LLM].kv_cells = 10_000
    turns: list[Role] = []
    policy = scene.driver.next_model

    def note(ready: Mapping[Role, Sequence[ActiveSequence]]) -> Role:
        turns.append(policy(ready))
        return turns[-1]

    scene.driver.next_model = note
    for _ in scene.run([lone, *others]):
        if lone.trace.stop is not None:
            break
    assert lone.trace.stop == "length"
    assert turns.count(Role.SLM) == 20
    assert len(turns) < 20 * 12


def test_the_reference_is_the_plain_loop() -> None:
    scene = Scene(1, 4)
    question = Question([1, 2, 3], "entropy:0.5", 15, end=NEVER)
    assert told(scene.alone(question)[1]) == told(run_to_end(scene.trajectory(question), scene.models))
