"""The driver with scripted models: batching, scheduling and KV caches."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import run_to_end
from scripted_engine import BROKEN, NEVER, HiddenRouter, Question, Scene, questions, summary

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.slots import ActiveSequence
from rstitch_local.errors import CacheFullError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Decoded


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
def test_batched_answers_equal_single_ones(
    asked: list[Question], slots: int, n_batch: int, cells: int | None, reuse: bool, policy: int | None, seed: int
) -> None:
    scene = Scene(slots, seed, n_ctx=80, n_batch=n_batch, kv_cells=cells)
    if policy is not None:
        # The answers do not depend on the scheduling policy.
        rng = random.Random(policy)
        scene.driver.next_model = lambda ready: rng.choice([role for role in Role if ready[role]])
    sequences = [scene.sequence(question, reuse=reuse) for question in asked]
    kept: dict[int, list[Step]] = {id(sequence): [] for sequence in sequences}
    ended: set[int] = set()
    for sequence, step in scene.run(sequences):
        assert id(sequence) not in ended
        if step is not None:
            kept[id(sequence)].append(step)
        if sequence.trace.stop is not None:
            ended.add(id(sequence))
        status = scene.driver.status()
        assert status.active + status.preempted <= status.slots == slots
        assert sum(status.waiting.values()) == status.active
    for sequence, question in zip(sequences, asked, strict=True):
        trajectory, steps, usage = scene.alone(question)
        assert summary(kept[id(sequence)]) == summary(steps) == summary(sequence.trace.steps)
        assert [s.entropy for s in sequence.trace.steps] == pytest.approx([s.entropy for s in steps], abs=1e-6)
        assert sequence.error is None
        assert sequence.trace.stop == trajectory.stop_reason
        assert (sequence.trace.swaps_up, sequence.trace.swaps_down) == (trajectory.swaps_up, trajectory.swaps_down)
        assert sequence.trace.tokens == {role: trajectory.tokens(role) for role in Role}
        counted = {role: sequence.trace.usage[role].tokens for role in Role}
        assert sum(step.evaluated_tokens for step in steps) == sum(map(sum, usage.values()))
        assert sum(step.evaluated_tokens for step in sequence.trace.steps) == sum(map(sum, counted.values()))
        if cells is None and not reuse:
            assert counted == usage
        elif cells is None:
            assert all(sum(counted[role]) <= sum(usage[role]) for role in Role)
        if isinstance(trajectory.router, HiddenRouter):
            assert cast("HiddenRouter", sequence.trajectory.router).seen == trajectory.router.seen
    assert ended == set(kept)
    for context in scene.contexts.values():
        assert context.most_used <= context.kv_cells
    scene.driver.require_idle()


def test_the_next_trajectory_is_taken_when_a_slot_is_free() -> None:
    scene = Scene(3)
    lengths = [3, 9, 6, 1, 1, 5, 2, 8]
    taken: list[ActiveSequence] = []
    ended = 0

    def source() -> Iterator[ActiveSequence]:
        for length in lengths:
            assert len(taken) - ended < 3
            taken.append(scene.sequence(Question([1, 2], "slm", length, end=NEVER)))
            yield taken[-1]

    for sequence, _ in scene.run(source()):
        ended += sequence.trace.stop is not None
    assert (len(taken), ended) == (8, 8)
    # A free slot is used again in the next turn.
    busy: list[int] = []
    sizes = []
    while lengths or busy:
        while lengths and len(busy) < 3:
            busy.append(lengths.pop(0))
        sizes.append(len(busy))
        busy = [left - 1 for left in busy if left > 1]
    assert [len(call) for call in scene.contexts[Role.SLM].calls] == sizes


def test_no_trajectory_is_taken_before_the_first_step() -> None:
    scene = Scene(2)
    steps = scene.driver.steps(pytest.fail("taken") for _ in range(1))
    assert list(scene.driver.steps([])) == []
    del steps


def test_a_long_prompt_does_not_delay_decoding() -> None:
    scene = Scene(4, n_ctx=300, n_batch=16)
    short = [Question([1, i], "slm", 40, end=NEVER) for i in range(3)]
    long = Question([5] * 70, "slm", 5, end=NEVER)
    sequences = [scene.sequence(question) for question in (*short, long)]
    generated = {id(sequence): 0 for sequence in sequences}
    for sequence, _ in scene.run(sequences):
        generated[id(sequence)] += 1
        if sequence is sequences[3] and generated[id(sequence)] == 1:
            break
    # Three tokens of each batch of 16 are for the others; at first their prompts, of two tokens each.
    chunks = -(-(70 - 10) // 13) + 1
    assert list(generated.values()) == [chunks] * 3 + [1]
    assert [len(call) for call in scene.contexts[Role.SLM].calls] == [4] * chunks
    assert [call[-1].outputs for call in scene.contexts[Role.SLM].calls] == [False] * (chunks - 1) + [True]


def test_a_long_prompt_does_not_delay_decoding_with_hidden_states() -> None:
    scene = Scene(4, n_ctx=300, n_batch=16)
    sequences = [scene.sequence(Question([1, i], "hidden", 60, end=NEVER)) for i in range(3)]
    for sequence in sequences:
        cast("HiddenRouter", sequence.trajectory.router).tau = 1.0
    sequences.append(scene.sequence(Question([5] * 160, "hidden", 5, end=NEVER)))
    generated = {id(sequence): 0 for sequence in sequences}
    for sequence, _ in scene.run(sequences):
        generated[id(sequence)] += 1
        if sequence is sequences[3]:
            break
    # They get tokens in at least every second batch.
    assert min(generated[id(sequence)] for sequence in sequences[:3]) >= 160 // 16 // 2


def test_requests_for_hidden_states_do_not_starve_the_others() -> None:
    scene = Scene(4)
    plain = scene.sequence(Question([1, 2], "slm", 10, end=NEVER))
    others = [scene.sequence(Question([1, i], "hidden", 60, end=NEVER)) for i in range(3)]
    for sequence in others:
        cast("HiddenRouter", sequence.trajectory.router).tau = 1.0
    generated = 0
    for sequence, _ in scene.run([plain, *others]):
        generated += sequence is not plain
        if plain.trace.stop is not None:
            break
    assert generated < 3 * 30


def test_the_last_token_of_a_split_catch_up_is_not_counted_as_decode() -> None:
    # Batches this small rarely hold a whole catch-up, and sometimes leave one token of it.
    single_leftovers = 0
    for n_batch in range(8, 16):
        scene = Scene(4, n_batch, n_batch=n_batch)
        asked = [Question([1, i], "random:0.5", 60, end=NEVER) for i in range(4)]
        sequences = [scene.sequence(question) for question in asked]
        for _ in scene.run(sequences):
            pass
        for sequence, question in zip(sequences, asked, strict=True):
            assert {role: sequence.trace.usage[role].tokens for role in Role} == scene.alone(question)[2]
        slices = [batch_slice for context in scene.contexts.values() for call in context.calls for batch_slice in call]
        assert any(not batch_slice.outputs for batch_slice in slices)
        single_leftovers += sum(
            batch_slice.outputs and len(batch_slice.ids) == 1 and not batch_slice.single for batch_slice in slices
        )
    assert single_leftovers > 0


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("cells", [80, 100, 150])
def test_the_youngest_is_preempted_where_kv_cells_are_scarce(cells: int, reuse: bool) -> None:
    scene = Scene(5, 3, n_ctx=80, kv_cells=cells)
    # The first are short, so many are admitted; the others are longer than expected.
    asked = [Question([i], "entropy:0.5", 2 if i < 4 else 60 - i, end=NEVER) for i in range(1, 12)]
    sequences = [scene.sequence(question, reuse=reuse) for question in asked]
    most_preempted = 0

    def source() -> Iterator[ActiveSequence]:
        for sequence in sequences:
            assert scene.driver.status().preempted == 0, "a new trajectory is admitted before a preempted one"
            yield sequence

    for sequence, _ in scene.run(source()):
        most_preempted = max(most_preempted, scene.driver.status().preempted)
        assert sequence.trace.swaps_up == sequence.trajectory.swaps_up
    assert most_preempted > 0
    evaluated_more = []
    for sequence, question in zip(sequences, asked, strict=True):
        _, steps, usage = scene.alone(question)
        assert summary(sequence.trace.steps) == summary(steps)
        assert sequence.error is None
        evaluated_more.append(
            sum(sum(sequence.trace.usage[role].tokens) for role in Role) > sum(map(sum, usage.values()))
        )
    # Preempted trajectories are evaluated again; the oldest is never preempted.
    assert any(evaluated_more)
    assert not evaluated_more[3]


def test_preempted_trajectories_are_admitted_in_their_first_order() -> None:
    scene = Scene(5, n_ctx=80, kv_cells=100)
    sequences = [scene.sequence(Question([i], "slm", 2 if i < 4 else 50, end=NEVER)) for i in range(1, 12)]
    most, ended = 0, []
    before = dict.fromkeys(map(id, sequences), 0.0)
    for sequence, _ in scene.run(sequences):
        most = max(most, scene.driver.status().preempted)
        # Wall time includes waiting.
        assert sequence.trace.wall_ms >= before[id(sequence)]
        before[id(sequence)] = sequence.trace.wall_ms
        ended += [sequence] if sequence.trace.stop is not None else []
    assert most > 1
    assert ended == sequences


def test_two_long_prompts_are_evaluated_in_turns() -> None:
    scene = Scene(3, n_ctx=300, n_batch=16)
    sequences = [scene.sequence(Question([i] * 100, "slm", 3, end=NEVER)) for i in (5, 6)]
    for _ in scene.run(sequences):
        break
    owners = [[batch_slice.sequence for batch_slice in call] for call in scene.contexts[Role.SLM].calls]
    assert owners[:10] == [[0], [1]] * 5


def test_before_the_first_end_admission_assumes_the_maximum_length() -> None:
    # Of 100 cells each may need 5 + 40: two can be admitted without a risk of preemption.
    scene = Scene(5, n_ctx=80, kv_cells=100)
    sequences = [scene.sequence(Question([i] * 5, "slm", 40, end=NEVER)) for i in range(1, 6)]
    most = 0
    for sequence, _ in scene.run(sequences):
        if not any(other.trace.stop for other in sequences):
            most = max(most, scene.driver.status().active)
        if sequence.trace.stop is not None:
            assert sum(sequence.trace.usage[Role.SLM].tokens) == 5 + 39
    assert most == 2


def test_caches_of_ended_trajectories_are_evicted_first() -> None:
    # Unused sequences keep their tokens for reuse until the cells are needed.
    scene = Scene(3, n_ctx=80, kv_cells=80)
    for i in range(1, 4):
        (sequence,) = [scene.sequence(Question([i] * 20, "slm", 5, end=NEVER))]
        assert len(list(scene.run([sequence, scene.sequence(Question([i, i, i], "slm", 3, end=NEVER))]))) == 8
    assert scene.contexts[Role.SLM].used_cells > 20
    last = scene.sequence(Question([9] * 40, "slm", 41, end=NEVER))
    assert len(list(scene.run([last]))) == 41
    assert sum(last.trace.usage[Role.SLM].tokens) == 80


def test_a_full_cache_that_llama_cpp_reports_preempts_the_youngest(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(3, 1)
    decode, calls = scene.contexts[Role.SLM].decode, itertools.count()

    def sometimes_full(slices: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        if next(calls) in (4, 5, 20):
            raise CacheFullError("KV cache full", "Fragmented.")
        return decode(slices, hidden=hidden)

    monkeypatch.setattr(scene.contexts[Role.SLM], "decode", sometimes_full)
    asked = [Question([1, i], "entropy:0.5", 25, end=NEVER) for i in range(4)]
    sequences = [scene.sequence(question) for question in asked]
    for _ in scene.run(sequences):
        pass
    for sequence, question in zip(sequences, asked, strict=True):
        assert summary(sequence.trace.steps) == summary(scene.alone(question)[1])


def test_a_common_prefix_is_evaluated_once() -> None:
    scene = Scene(4, n_batch=16)
    system = [3] * 40
    sequences = [
        scene.sequence(Question([*system, i, i], "entropy:0.5", 10, end=NEVER), reuse=True) for i in range(4, 12)
    ]
    for _ in scene.run(sequences):
        pass
    for role in Role:
        prompts = [
            sequence.trace.usage[role].tokens[0] for sequence in sequences if sequence.trace.usage[role].tokens[0]
        ]
        assert sorted(prompts) == [2] * (len(prompts) - 1) + [42]
    assert sum(sequence.trace.usage[Role.SLM].tokens[0] for sequence in sequences) == 42 + 7 * 2


def test_prompts_wait_only_for_a_long_prefix_and_only_with_reuse() -> None:
    for common, reuse, first in ((15, True, 4), (40, False, 4), (16, True, 1)):
        scene = Scene(4, n_batch=1000)
        sequences = [
            scene.sequence(Question([*[3] * common, i], "slm", 3, end=NEVER), reuse=reuse) for i in range(4, 8)
        ]
        for _ in scene.run(sequences):
            pass
        calls = scene.contexts[Role.SLM].calls
        assert len(calls[0]) == first
        assert len(calls) == (3 if first == 4 else 4)


def test_waiting_for_a_prefix_ends_if_its_trajectory_fails() -> None:
    # Broken logits end the first before its prompt is cached.
    scene = Scene(3, n_batch=16, breaks=True)
    system = [3] * 40
    bad = Question([*system, BROKEN, 7], "slm", 3, end=NEVER)
    good = [Question([*system, i, 7], "slm", 3, end=NEVER) for i in (4, 5, 6)]
    sequences = [scene.sequence(question, reuse=True) for question in (bad, *good)]
    for _ in scene.run(sequences):
        pass
    assert [sequence.trace.stop for sequence in sequences] == ["error", "length", "length", "length"]


def test_a_turn_is_one_call_per_model() -> None:
    scene = Scene(5)
    sequences = [scene.sequence(Question([1, i], "slm", 10, end=NEVER)) for i in range(5)]
    assert len(list(scene.run(sequences))) == 50
    assert [len(scene.contexts[role].calls) for role in Role] == [10, 0]


class Clock:
    """Stands in for time.perf_counter_ns; advances by a millisecond per call."""

    def __init__(self) -> None:
        self.now = 5_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


@pytest.mark.parametrize("slots", [1, 4])
def test_busy_times_add_up_to_the_elapsed_time(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter_ns", clock)
    scene = Scene(slots)
    sequences = [scene.sequence(Question([1, i], "entropy:0.5", 12, end=NEVER)) for i in range(6)]
    before = clock.now
    steps = list(scene.run(sequences))
    spent = (clock.now - before) / 1e6
    # Without the first reading, which precedes all trajectories.
    assert sum(sequence.trace.busy_ms for sequence in sequences) == pytest.approx(spent - 1)
    assert len(steps) == 72
    for sequence in sequences:
        trace = sequence.trace
        assert trace.ttft_ms is not None
        assert 0 < trace.ttft_ms < trace.wall_ms
        if slots > 1:
            assert trace.busy_ms < trace.wall_ms
        assert sum(step.ms for step in trace.steps) == pytest.approx(trace.model_ms)


def test_the_status_counts_trajectories_by_model() -> None:
    scene = Scene(4)
    sequences = [scene.sequence(Question([1, i], "llm" if i else "slm", 9, end=NEVER)) for i in range(3)]
    assert scene.driver.status().active == 0
    steps = scene.driver.steps(sequences)
    next(steps)
    status = scene.driver.status()
    assert (status.active, status.slots, status.preempted) == (3, 4, 0)
    assert status.waiting == {Role.SLM: 1, Role.LLM: 2}
    list(steps)
    assert scene.driver.status().waiting == {Role.SLM: 0, Role.LLM: 0}


def test_a_model_with_fewer_waiting_trajectories_gets_its_turn() -> None:
    scene = Scene(4)
    lone = scene.sequence(Question([1], "slm", 20, end=NEVER))
    others = [scene.sequence(Question([1, i], "llm", 1000, end=NEVER)) for i in range(3)]
    for sequence in others:
        sequence.trajectory._sides[Role.LLM].capacity = 1000
    scene.contexts[Role.LLM].n_ctx = scene.contexts[Role.LLM].kv_cells = 10_000
    turns: list[Role] = []
    policy = scene.driver.next_model

    def record(ready: Mapping[Role, Sequence[ActiveSequence]]) -> Role:
        turns.append(policy(ready))
        return turns[-1]

    scene.driver.next_model = record
    for _ in scene.run([lone, *others]):
        if lone.trace.stop is not None:
            break
    assert lone.trace.stop == "length"
    assert turns.count(Role.SLM) == 20
    assert len(turns) < 20 * 12


def test_the_reference_agrees_with_a_plain_loop() -> None:
    scene = Scene(1, 4)
    question = Question([1, 2, 3], "entropy:0.5", 15, end=NEVER)
    assert summary(scene.alone(question)[1]) == summary(run_to_end(scene.trajectory(question), scene.models))
