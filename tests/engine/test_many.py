"""Concurrent answers with real models: equal to single ones, with shared prefixes, in a limited number of slots."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_pair import TinyPair, write_pair

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import EngineError, InputError
from rstitch_local.routing.rules import EntropyRouter

SEED = 7
QUESTIONS = [word_problems.generate(word_problems.EVALUATION_SEED, index).question for index in range(12)]

# Weights and activations of the demo pair have 8 bits: rounding in batches, or another split of a prompt, changes its
# logits by up to 0.5 and small entropies by up to 40 %.
DEMO_LOGIT, DEMO_SHARE, DEMO_HIDDEN = 1.2, 0.45, 0.8
# The logits of the tiny models change by up to 0.003.
TINY_LOGIT, TINY_SHARE, TINY_HIDDEN = 0.012, 0.003, 0.02

SYSTEM = "You two are a pair of random models. Whatever you are asked, write noise, and never mind the question. " * 2


class RecordingRouter(EntropyRouter):
    """Records the smallest ratio of an entropy to tau, because rounding could decide, and the hidden states."""

    def __init__(self, tau: float, *, hidden: bool = False) -> None:
        super().__init__(tau)
        self.needs_hidden = hidden
        self.nearest = math.inf
        self.states: list[tuple[int, NDArray[np.float32]]] = []

    def route(self, observation: Observation) -> Role:
        self.nearest = min(self.nearest, abs(math.log(max(observation.entropy, 1e-12) / self.tau)))
        assert (observation.hidden is not None) == (self.needs_hidden and observation.role is Role.SLM)
        if observation.hidden is not None:
            self.states.append((observation.position, observation.hidden.copy()))
        return super().route(observation)


class RecordingSampler(Sampler):
    """Records whether a choice was so close that rounding could change it."""

    close_call = False

    def __init__(self, sampling: Sampling, rounding: float) -> None:
        super().__init__(sampling, SEED)
        self.rounding = rounding

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        token = super().choose(logits, position, likeliest)
        lowered = logits.copy()
        lowered[token] -= self.rounding
        self.close_call |= super().choose(lowered, position, int(lowered.argmax())) != token
        return token


@dataclass(frozen=True)
class RecordedRun:
    """A run, and how close its decisions were."""

    run: Run
    router: RecordingRouter
    sampler: RecordingSampler

    def is_safe(self, share: float) -> bool:
        """Whether rounding cannot change the answer."""
        return self.router.nearest > share and not self.sampler.close_call


def record(run: Run, sampling: Sampling, rounding: float, *, hidden: bool = False) -> RecordedRun:
    assert run.tau is not None
    router, sampler = RecordingRouter(run.tau, hidden=hidden), RecordingSampler(sampling, rounding)
    run.trajectory.router = router
    run.trajectory._sampler = sampler
    return RecordedRun(run, router, sampler)


def check_same(single: RecordedRun, batched: RecordedRun, rounding: float) -> None:
    """Check for equal tokens by the same models, and equal hidden states."""
    assert tokens(single.run) == tokens(batched.run)
    assert single.run.trace.stop == batched.run.trace.stop
    assert [position for position, _ in single.router.states] == [position for position, _ in batched.router.states]
    for (_, own), (_, other) in zip(single.router.states, batched.router.states, strict=True):
        np.testing.assert_allclose(own, other, atol=rounding)


def tokens(run: Run) -> list[tuple[Role, int]]:
    return [(step.role, step.token) for step in run.trace.steps]


def generate_all(pair: Pair, *runs: Run) -> None:
    for _ in pair.run_all(runs):
        pass


@pytest.fixture(scope="module")
def one() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("temperature", "hidden", "cells"), [(0.0, False, None), (0.8, True, None), (0.0, True, 256), (0.8, False, 256)]
)
def test_five_concurrent_answers_equal_single_ones(
    one: Pair, temperature: float, hidden: bool, cells: int | None
) -> None:
    sampling = Sampling(temperature)

    def start(pair: Pair) -> list[RecordedRun]:
        options: dict[str, Any] = {"router": "entropy:0.02", "sampling": sampling, "seed": SEED, "max_tokens": 200}
        recorded = [
            record(pair.ask(question, **options), sampling, DEMO_LOGIT, hidden=hidden) for question in QUESTIONS
        ]
        generate_all(pair, *(each.run for each in recorded))
        return recorded

    alone = start(one)
    with load_pair("demo", options=LoadOptions(threads=1, context=256, sequences=5, kv_cells=cells)) as five:
        together = start(five)
    for each in together:
        assert each.run.trace.stop in ("eog", "length")
        assert each.run.error is None
        assert bool(each.router.states) == hidden
    assert {role for each in together for role, _ in tokens(each.run)} == set(Role)
    safe = [pair for pair in zip(alone, together, strict=True) if pair[0].is_safe(DEMO_SHARE)]
    assert len(safe) > 3, "too much is left to rounding to say anything"
    for single, batched in safe:
        check_same(single, batched, DEMO_HIDDEN)
    # Most of the others are equal too.
    same = sum(tokens(single.run) == tokens(batched.run) for single, batched in zip(alone, together, strict=True))
    assert same >= len(QUESTIONS) * 2 // 3


@pytest.fixture(scope="module")
def four(tiny_pair: TinyPair) -> Iterator[Pair]:
    options = LoadOptions(threads=1, sequences=4, context=512)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as loaded:
        yield loaded


@pytest.fixture
def fresh(four: Pair) -> Pair:
    """The same pair with empty caches."""
    for context in four.contexts.values():
        context.clear()
    return four


@pytest.mark.parametrize("router", ["slm", "llm", "random:0.5"])
def test_a_common_system_prompt_is_evaluated_once(fresh: Pair, router: str) -> None:
    questions = [f"{chr(97 + i)}? " * (1 + i % 3) for i in range(10)]
    runs = [
        fresh.ask(question, system=SYSTEM, router=router, max_tokens=12, seed=SEED, reuse=True)
        for question in questions
    ]
    prompts = [list(run.trajectory.ids(Role.SLM)) for run in runs]
    common = next(i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1)
    assert common > len(SYSTEM)
    generate_all(fresh, *runs)
    for role in Role:
        found = [run.trace.usage[role].tokens[0] for run in runs]
        asked = [(count, len(prompt)) for count, prompt in zip(found, prompts, strict=True) if count]
        assert sum(count == length for count, length in asked) == (1 if asked else 0)
        assert all(count in (length, length - common) for count, length in asked)
        if router in (role.value, "random:0.5"):
            assert len(asked) == len(runs)
    # The answers equal those with empty caches.
    for context in fresh.contexts.values():
        context.clear()
    again = [fresh.ask(question, system=SYSTEM, router=router, max_tokens=12, seed=SEED) for question in questions]
    generate_all(fresh, *again)
    same = sum(tokens(single) == tokens(batched) for single, batched in zip(runs, again, strict=True))
    # Except for near ties, of which ten answers of noise have some.
    assert same >= len(runs) - 2
    for run in again:
        assert run.trace.usage[Role.SLM].tokens[0] in (0, len(run.trajectory.ids(Role.SLM)) - 12)


@pytest.mark.parametrize("router", ["slm", "llm", "random:0.5"])
def test_separate_kv_caches_change_no_answer(fresh: Pair, tiny_pair: TinyPair, router: str) -> None:
    def start(pair: Pair) -> list[Run]:
        # Different lengths, so that slots are refilled at different times and some are empty at the end.
        runs = [
            pair.ask("Why? " * (1 + i % 4), system=SYSTEM, router=router, max_tokens=4 + 3 * i, seed=i, reuse=True)
            for i in range(10)
        ]
        generate_all(pair, *runs)
        return runs

    options = LoadOptions(threads=1, sequences=4, context=512, swaps=False)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as apart:
        assert not any(context.unified for context in apart.contexts.values())
        own = start(apart)
    common = start(fresh)
    assert all(run.error is None and run.trace.stop in ("eog", "length") for run in own)
    assert sum(tokens(single) == tokens(batched) for single, batched in zip(own, common, strict=True)) >= len(own) - 2
    for single, batched in zip(own, common, strict=True):
        if tokens(single) == tokens(batched):
            # A common prefix is copied between separate caches as well.
            assert [single.trace.usage[role].tokens[0] for role in Role] == [
                batched.trace.usage[role].tokens[0] for role in Role
            ]


def test_runs_are_created_when_a_slot_is_free(fresh: Pair) -> None:
    made: list[Run] = []
    ended: list[Run] = []

    def runs() -> Iterator[Run]:
        for i in range(11):
            assert len(made) - len(ended) < 4
            made.append(fresh.ask(f"Hi {i}", router="slm", max_tokens=3 + i % 5))
            yield made[-1]

    answers = fresh.run_all(runs())
    assert made == []
    for run, step in answers:
        assert run in made
        assert run not in ended
        assert step is not None
        assert step is run.trace.steps[-1]
        if run.trace.stop is not None:
            assert len(run.trace.steps) == run.trajectory.max_tokens
            ended.append(run)
    assert len(ended) == 11
    # Not in order of creation: short answers do not wait for long ones.
    assert ended != made
    assert fresh.status.active == fresh.status.preempted == 0


def test_ended_runs_are_not_kept(fresh: Pair) -> None:
    made: list[weakref.ref[Run]] = []

    def runs() -> Iterator[Run]:
        for _ in range(20):
            run = fresh.ask("Hi", router="slm", max_tokens=2)
            made.append(weakref.ref(run))
            yield run
            del run

    for run, _ in fresh.run_all(runs()):
        del run
        assert sum(ref() is not None for ref in made) <= 2 * 4


def test_an_error_of_one_run_does_not_affect_the_others(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    options = LoadOptions(threads=1, sequences=3, context=256)
    with load_pair(slm=files.slm, llm=files.llm, options=options) as pair:
        expected = pair.ask("Hello", router="random:0.5", max_tokens=20)
        generate_all(pair, expected)
        runs = [pair.ask(text, router="random:0.5", max_tokens=20) for text in ("Hello", "Q?", "Hello", "Hello", "Q")]
        ended = [run for run, _ in pair.run_all(runs) if run.trace.stop is not None]
        for run in runs:
            broken = run in (runs[1], runs[4])
            assert run in ended
            assert run.trace.stop == ("error" if broken else "length")
            assert (run.error is not None) is broken
            assert tokens(run) == ([] if broken else tokens(expected))
        # A single run raises it.
        steps: list[Step] = []
        with pytest.raises(EngineError, match="at position 0"):
            steps.extend(pair.ask("Q!", max_tokens=20))
        assert steps == []
        again = pair.ask("Hello", router="random:0.5", max_tokens=20)
        generate_all(pair, again)
        assert tokens(again) == tokens(expected)


def test_a_run_resumed_from_a_complete_answer_ends_without_a_step(fresh: Pair) -> None:
    first = fresh.ask("Hi", router="slm", max_tokens=4)
    steps = list(first)
    runs = [fresh.ask("Hi", router="slm", max_tokens=count, resume_steps=steps) for count in (4, 6)]
    found = [(run, step) for run, step in fresh.run_all(runs)]
    assert [run for run, _ in found] == [runs[0], runs[1], runs[1]]
    assert [step is None for _, step in found] == [True, False, False]
    assert [run.trace.stop for run in runs] == ["length", "length"]
    assert list(fresh.ask("Hi", router="slm", max_tokens=4, resume_steps=steps)) == []


def test_should_stop_ends_all_runs_and_replaces_their_own(fresh: Pair) -> None:
    runs = [
        fresh.ask(f"Hi {i}", router="slm", max_tokens=50, should_stop=lambda: pytest.fail("polled")) for i in range(6)
    ]
    for _ in fresh.run_all(runs, should_stop=lambda: len(runs[3].trace.steps) == 5):
        pass
    assert [run.trace.stop for run in runs] == ["interrupted"] * 4 + [None] * 2
    assert len(runs[3].trace.steps) == 5
    assert all(run.error is None for run in runs)


def test_an_error_in_creating_a_run_ends_the_others(fresh: Pair) -> None:
    first = fresh.ask("Hi", router="slm", max_tokens=50)

    def runs() -> Iterator[Run]:
        yield first
        yield fresh.ask("x" * 600)

    with pytest.raises(InputError, match="too long"):
        list(fresh.run_all(runs()))
    assert first.trace.stop == "interrupted"
    assert len(list(fresh.ask("Hi", router="slm", max_tokens=5))) == 5


def test_a_failure_of_llama_cpp_ends_all_and_the_pair_stays_usable(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode: Callable[[Any, Any], int] = llama_cpp.llama_decode
    calls = 0

    def fail(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return -3 if calls == 6 else decode(context, batch)

    runs = [fresh.ask(f"Hi {i}", router="slm", max_tokens=20) for i in range(6)]
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", fail)
        with pytest.raises(EngineError, match="returned -3"):
            list(fresh.run_all(runs))
    assert [run.trace.stop for run in runs] == ["error"] * 4 + [None] * 2
    later = [fresh.ask(f"Hi {i}", router="slm", max_tokens=20) for i in range(6)]
    generate_all(fresh, *later)
    assert [run.trace.stop for run in later] == ["length"] * 6


def test_a_busy_or_closed_pair_refuses_concurrent_runs(tiny_pair: TinyPair) -> None:
    options = LoadOptions(threads=1, sequences=2, context=128)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as pair:
        first = pair.run_all([pair.ask("Hi", router="slm", max_tokens=5)])
        next(first)
        with pytest.raises(EngineError, match="busy"):
            list(pair.run_all([pair.ask("Ho")]))
        with pytest.raises(EngineError, match="busy"):
            list(pair.ask("Ho"))
        assert len(list(first)) == 4
        late = pair.ask("Ho")
    with pytest.raises(EngineError, match="freed"):
        list(pair.run_all([late]))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("cells", [None, 256])
def test_slots_hidden_states_and_scarce_cells_change_no_answer(
    tiny_pair: TinyPair, hidden: bool, cells: int | None
) -> None:
    def start(sequences: int, cells: int | None) -> list[RecordedRun]:
        options = LoadOptions(threads=1, context=256, sequences=sequences, kv_cells=cells)
        with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as pair:
            # The first are short, so that more are admitted than the KV cells suffice for in the end.
            recorded = [
                record(
                    pair.ask(f"Question {i} " * (1 + i % 3), router="entropy:0.2", max_tokens=3 if i < 3 else 50),
                    Sampling(),
                    TINY_LOGIT,
                    hidden=hidden,
                )
                for i in range(18)
            ]
            generate_all(pair, *(each.run for each in recorded))
            assert all(context.used_cells <= context.kv_cells for context in pair.contexts.values())
        return recorded

    def evaluated(recorded: list[RecordedRun]) -> int:
        return sum(sum(each.run.trace.usage[role].tokens) for each in recorded for role in Role)

    alone, together = start(1, None), start(6, cells)
    safe = [pair for pair in zip(alone, together, strict=True) if pair[0].is_safe(TINY_SHARE)]
    assert len([single for single, _ in safe if len(tokens(single.run)) == 50]) > 3
    for single, batched in safe:
        # Preempted runs have seen some states twice.
        assert bool(batched.router.states) == hidden
        check_same(single, batched, TINY_HIDDEN)
    # Some were preempted if cells are scarce.
    assert (evaluated(together) > evaluated(alone)) == (cells is not None)
