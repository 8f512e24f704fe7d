"""Scheduling: batches are filled without starvation, and no model with work stays idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.scheduling import MAX_IDLE_TURNS, NextModel, fill_batch


@dataclass(eq=False)
class Request:
    """Stands in for a trajectory: the model it waits for, the tokens it requests, and its waiting time in turns."""

    role: Role = Role.SLM
    requested: int = 1
    waited: int = 0


@dataclass
class Queue:
    """Trajectories that wait for one model, and a batch of at least twice as many tokens."""

    requested: list[int]
    waited: list[int]
    n_batch: int


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    requested = draw(st.lists(st.one_of(st.just(1), st.integers(1, 20), st.integers(1, 400)), min_size=1, max_size=40))
    waited = draw(st.lists(st.integers(0, 30), min_size=len(requested), max_size=len(requested)))
    return Queue(requested, waited, max(2 * len(requested), draw(st.integers(2, 200))))


def distributed(requested: Sequence[int], waited: Sequence[int], n_batch: int) -> list[int]:
    """Return how many tokens each gets."""
    counts = [0] * len(requested)
    for share in fill_batch(requested, waited, n_batch):
        assert counts[share.index] == 0, "two parts of one trajectory in a batch"
        counts[share.index] = share.count
        assert share.count > 0
    return counts


@given(queues())
@settings(max_examples=400)
def test_a_batch_is_filled_and_not_exceeded(queue: Queue) -> None:
    counts = distributed(queue.requested, queue.waited, queue.n_batch)
    assert all(count <= requested for count, requested in zip(counts, queue.requested, strict=True))
    assert sum(counts) == min(sum(queue.requested), queue.n_batch)


@given(queues())
@settings(max_examples=200)
def test_single_tokens_are_never_delayed(queue: Queue) -> None:
    counts = distributed(queue.requested, queue.waited, queue.n_batch)
    for count, requested in zip(counts, queue.requested, strict=True):
        assert count == 1 or requested > 1


@given(queues())
@settings(max_examples=200)
def test_of_equal_requests_the_longer_wait_is_served_first(queue: Queue) -> None:
    counts = distributed(queue.requested, queue.waited, queue.n_batch)
    for i, first in enumerate(queue.requested):
        for j, second in enumerate(queue.requested):
            if first == second and queue.waited[i] > queue.waited[j]:
                assert counts[i] >= counts[j]


@given(
    lengths=st.lists(st.integers(1, 600), min_size=1, max_size=10),
    singles=st.integers(0, 10),
    catch_ups=st.integers(0, 10),
    spare=st.integers(0, 60),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_finite_requests_are_served_beside_endless_ones(
    lengths: list[int], singles: int, catch_ups: int, spare: int, seed: int
) -> None:
    # Endless single tokens and endless catch-ups beside some prompts.
    rng = np.random.default_rng(seed)
    requests = [Request(requested=length) for length in lengths]
    endless = [Request(requested=1) for _ in range(singles)] + [Request(requested=12) for _ in range(catch_ups)]
    number = len(lengths) + len(endless)
    n_batch = 2 * number + spare
    turns = 0
    unfinished = list(requests)
    # Each gets at least a quarter of a batch, after all with a longer wait.
    bound = 4 * sum(-(-length // max(1, n_batch // 4)) + 1 for length in lengths) + 4 * len(endless)
    while unfinished:
        turns += 1
        assert turns <= bound, "a prompt is never served"
        all_requests = [*unfinished, *endless]
        for request in all_requests:
            request.waited += 1
        for share in fill_batch([w.requested for w in all_requests], [w.waited for w in all_requests], n_batch):
            request = all_requests[share.index]
            request.requested -= share.count
            request.waited = 0
            if request.requested == 0 and request in endless:
                request.requested = 1 if endless.index(request) < singles else int(rng.integers(1, 30))
        for request in all_requests:
            assert request.waited <= number
        unfinished = [request for request in unfinished if request.requested]


def test_the_longest_wait_is_served_first_if_the_batch_is_too_small() -> None:
    assert distributed([4] * 10, [3, 9, 1, 8, 0, 7, 2, 6, 5, 4], 20) == [0, 4, 0, 4, 0, 4, 0, 4, 4, 0]
    assert distributed([90] * 4, [3, 9, 1, 8], 100) == [0, 90, 0, 10]
    # Single tokens are served before all others, regardless of their wait.
    assert distributed([4, 4, 1, 1], [9, 9, 0, 0], 8) == [4, 2, 1, 1]


def test_a_long_prompt_does_not_delay_decoding() -> None:
    requested = [1000, 1, 1, 3, 1]
    for _ in range(15):
        counts = distributed(requested, [0, 9, 0, 0, 9], 64)
        assert counts[1:] == [1, 1, 3, 1]
        assert counts[0] == 64 - 6
        requested[0] -= counts[0]


def test_a_model_without_work_is_never_chosen() -> None:
    for role in Role:
        other = Role.LLM if role is Role.SLM else Role.SLM
        turn = NextModel()
        # Not even after it had work for long: the trajectories that waited for it may have ended.
        for _ in range(MAX_IDLE_TURNS):
            assert turn({role: [Request(), Request()], other: [Request()]}) is role
        assert turn({role: [Request(), Request()], other: []}) is role


def simulate(
    slots: int, n_batch: int, turns: int, seed: int, *, prompt: int, catch_up: int, stay: dict[Role, float]
) -> tuple[dict[Role, int], int]:
    """Return the longest idle time of each model with work, and the longest wait of a trajectory, in turns."""
    rng = np.random.default_rng(seed)
    requests = [Request(Role.SLM, int(rng.integers(1, prompt + 1))) for _ in range(slots)]
    idle, longest_idle = dict.fromkeys(Role, 0), dict.fromkeys(Role, 0)
    longest_wait = 0
    turn = NextModel()
    for _ in range(turns):
        ready = {role: [request for request in requests if request.role is role] for role in Role}
        for request in requests:
            request.waited += 1
        runs = turn(ready)
        assert ready[runs]
        for role in Role:
            idle[role] = idle[role] + 1 if ready[role] and role is not runs else 0
            longest_idle[role] = max(longest_idle[role], idle[role])
        longest_wait = max(longest_wait, *(request.waited for request in requests))
        served = ready[runs]
        for share in fill_batch([w.requested for w in served], [w.waited for w in served], n_batch):
            request = served[share.index]
            request.requested -= share.count
            request.waited = 0
            if request.requested:
                continue
            if rng.random() < 0.02:
                # The answer ends, and the next one takes its slot.
                request.role, request.requested = Role.SLM, int(rng.integers(1, prompt + 1))
            elif rng.random() < stay[request.role]:
                request.requested = 1
            else:
                request.role = Role.LLM if request.role is Role.SLM else Role.SLM
                request.requested = int(rng.integers(1, catch_up + 1))
    return longest_idle, longest_wait


@given(
    slots=st.integers(1, 16),
    seed=st.integers(0, 99),
    slm=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
    llm=st.sampled_from([0.0, 0.5, 0.97, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_no_model_with_work_is_idle_for_long(slots: int, seed: int, slm: float, llm: float) -> None:
    # Batches are large enough to serve all trajectories of a model in one turn.
    idle, wait = simulate(slots, 1000, 200, seed, prompt=50, catch_up=30, stay={Role.SLM: slm, Role.LLM: llm})
    assert max(idle.values()) <= MAX_IDLE_TURNS
    assert wait <= MAX_IDLE_TURNS + 1


def test_no_model_is_idle_for_long_with_prompts_of_many_batches() -> None:
    idle, wait = simulate(32, 64, 1000, 0, prompt=1500, catch_up=30, stay=dict.fromkeys(Role, 0.97))
    # One turn for each waiting trajectory, and for the model itself.
    assert max(idle.values()) <= MAX_IDLE_TURNS + 32
    assert wait <= MAX_IDLE_TURNS + 2 * 32
