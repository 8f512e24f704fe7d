"""Scheduling: a batch is dealt out so that nobody is forgotten, and no model either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.scheduling import MAX_IDLE_TURNS, NextModel, fill_batch


@dataclass(eq=False)
class Waiter:
    """Stands for a trajectory: the model it waits for, the tokens it misses, the turns since it got some."""

    role: Role = Role.SLM
    missing: int = 1
    waited: int = 0


@dataclass
class Queue:
    """Trajectories that wait for one model, and a batch that has room for twice as many tokens."""

    missing: list[int]
    waited: list[int]
    n_batch: int


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    missing = draw(st.lists(st.one_of(st.just(1), st.integers(1, 20), st.integers(1, 400)), min_size=1, max_size=40))
    waited = draw(st.lists(st.integers(0, 30), min_size=len(missing), max_size=len(missing)))
    return Queue(missing, waited, max(2 * len(missing), draw(st.integers(2, 200))))


def dealt(missing: Sequence[int], waited: Sequence[int], n_batch: int) -> list[int]:
    """How much each gets."""
    found = [0] * len(missing)
    for share in fill_batch(missing, waited, n_batch):
        assert found[share.index] == 0, "two parts of one trajectory in a batch"
        found[share.index] = share.count
        assert share.count > 0
    return found


@given(queues())
@settings(max_examples=400)
def test_a_batch_is_as_full_as_can_be_and_no_fuller(queue: Queue) -> None:
    found = dealt(queue.missing, queue.waited, queue.n_batch)
    assert all(count <= missing for count, missing in zip(found, queue.missing, strict=True))
    assert sum(found) == min(sum(queue.missing), queue.n_batch)


@given(queues())
@settings(max_examples=200)
def test_single_tokens_are_never_held_up(queue: Queue) -> None:
    found = dealt(queue.missing, queue.waited, queue.n_batch)
    for count, missing in zip(found, queue.missing, strict=True):
        assert count == 1 or missing > 1


@given(queues())
@settings(max_examples=200)
def test_of_two_alike_the_one_that_has_waited_longer_comes_first(queue: Queue) -> None:
    found = dealt(queue.missing, queue.waited, queue.n_batch)
    for i, mine in enumerate(queue.missing):
        for j, theirs in enumerate(queue.missing):
            if mine == theirs and queue.waited[i] > queue.waited[j]:
                assert found[i] >= found[j]


@given(
    needs=st.lists(st.integers(1, 600), min_size=1, max_size=10),
    singles=st.integers(0, 10),
    catch_ups=st.integers(0, 10),
    extra=st.integers(0, 60),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_what_is_finite_ends_whatever_else_keeps_coming(
    needs: list[int], singles: int, catch_ups: int, extra: int, seed: int
) -> None:
    # Endless single tokens and endless catch-ups beside some prompts; a need that is met comes again.
    rng = np.random.default_rng(seed)
    waiters = [Waiter(missing=need) for need in needs]
    endless = [Waiter(missing=1) for _ in range(singles)] + [Waiter(missing=12) for _ in range(catch_ups)]
    number = len(needs) + len(endless)
    n_batch = 2 * number + extra
    turns = 0
    open_ones = list(waiters)
    # Each comes in with a quarter of a batch at least, once all that have waited longer did.
    bound = 4 * sum(-(-need // max(1, n_batch // 4)) + 1 for need in needs) + 4 * len(endless)
    while open_ones:
        turns += 1
        assert turns <= bound, "a prompt is never served"
        everyone = [*open_ones, *endless]
        for waiter in everyone:
            waiter.waited += 1
        for share in fill_batch([w.missing for w in everyone], [w.waited for w in everyone], n_batch):
            waiter = everyone[share.index]
            waiter.missing -= share.count
            waiter.waited = 0
            if waiter.missing == 0 and waiter in endless:
                waiter.missing = 1 if endless.index(waiter) < singles else int(rng.integers(1, 30))
        for waiter in everyone:
            assert waiter.waited <= number
        open_ones = [waiter for waiter in open_ones if waiter.missing]


def test_who_has_waited_longest_comes_first_where_not_all_come_in() -> None:
    assert dealt([4] * 10, [3, 9, 1, 8, 0, 7, 2, 6, 5, 4], 20) == [0, 4, 0, 4, 0, 4, 0, 4, 4, 0]
    assert dealt([90] * 4, [3, 9, 1, 8], 100) == [0, 90, 0, 10]
    # Single tokens before them all, however short they have waited.
    assert dealt([4, 4, 1, 1], [9, 9, 0, 0], 8) == [4, 2, 1, 1]


def test_others_go_on_while_a_long_prompt_comes_in() -> None:
    missing = [1000, 1, 1, 3, 1]
    for _ in range(15):
        found = dealt(missing, [0, 9, 0, 0, 9], 64)
        assert found[1:] == [1, 1, 3, 1]
        assert found[0] == 64 - 6
        missing[0] -= found[0]


def test_a_model_without_work_never_runs() -> None:
    for role in Role:
        other = Role.LLM if role is Role.SLM else Role.SLM
        turn = NextModel()
        # Nor where it had some, and waited for long: whoever waited for it may be gone.
        for _ in range(MAX_IDLE_TURNS):
            assert turn({role: [Waiter(), Waiter()], other: [Waiter()]}) is role
        assert turn({role: [Waiter(), Waiter()], other: []}) is role


def simulate(
    slots: int, n_batch: int, turns: int, seed: int, *, prompt: int, catch_up: int, stay: dict[Role, float]
) -> tuple[dict[Role, int], int]:
    """The longest that each model with work stood still, and the longest that a trajectory waited, in turns."""
    rng = np.random.default_rng(seed)
    waiters = [Waiter(Role.SLM, int(rng.integers(1, prompt + 1))) for _ in range(slots)]
    still, longest_still = dict.fromkeys(Role, 0), dict.fromkeys(Role, 0)
    longest_wait = 0
    turn = NextModel()
    for _ in range(turns):
        ready = {role: [waiter for waiter in waiters if waiter.role is role] for role in Role}
        for waiter in waiters:
            waiter.waited += 1
        runs = turn(ready)
        assert ready[runs]
        for role in Role:
            still[role] = still[role] + 1 if ready[role] and role is not runs else 0
            longest_still[role] = max(longest_still[role], still[role])
        longest_wait = max(longest_wait, *(waiter.waited for waiter in waiters))
        served = ready[runs]
        for share in fill_batch([w.missing for w in served], [w.waited for w in served], n_batch):
            waiter = served[share.index]
            waiter.missing -= share.count
            waiter.waited = 0
            if waiter.missing:
                continue
            if rng.random() < 0.02:
                # The answer ends; another one takes its place.
                waiter.role, waiter.missing = Role.SLM, int(rng.integers(1, prompt + 1))
            elif rng.random() < stay[waiter.role]:
                waiter.missing = 1
            else:
                waiter.role = Role.LLM if waiter.role is Role.SLM else Role.SLM
                waiter.missing = int(rng.integers(1, catch_up + 1))
    return longest_still, longest_wait


@given(
    slots=st.integers(1, 16),
    seed=st.integers(0, 99),
    slm=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
    llm=st.sampled_from([0.0, 0.5, 0.97, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_no_model_with_work_stands_still_for_long(slots: int, seed: int, slm: float, llm: float) -> None:
    # Batches have room for all: a model's turn serves everybody who waits for it.
    still, wait = simulate(slots, 1000, 200, seed, prompt=50, catch_up=30, stay={Role.SLM: slm, Role.LLM: llm})
    assert max(still.values()) <= MAX_IDLE_TURNS
    assert wait <= MAX_IDLE_TURNS + 1


def test_nor_where_prompts_take_many_batches() -> None:
    still, wait = simulate(32, 64, 1000, 0, prompt=1500, catch_up=30, stay=dict.fromkeys(Role, 0.97))
    # A turn for each of those that wait, and for the model itself.
    assert max(still.values()) <= MAX_IDLE_TURNS + 32
    assert wait <= MAX_IDLE_TURNS + 2 * 32
