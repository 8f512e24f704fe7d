"""Many answers at once over real models: the same ones, a common beginning once, and whoever ends makes room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_pair import TinyPair, write_pair

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.routers import EntropyRouter, Observation, Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.engine.pair import LoadOptions, Pair, Run, load_pair
from rstitch_local.errors import EngineError, InputError

SEED = 7
QUESTIONS = [word_problems.generate(word_problems.EVALUATION_SEED, index).question for index in range(12)]

# Rounding in batches moves the demo pair's logits and entropies by less than a quarter of this.
SAFE_LOGIT, SAFE_ENTROPY, SAFE_HIDDEN = 0.02, 0.0004, 0.02

SYSTEM = "You two are a pair of random models. Whatever you are asked, write noise, and never mind the question. " * 2


class NotingRouter(EntropyRouter):
    """Notes how close to tau an entropy came, for rounding could decide such a case; and the hidden states."""

    def __init__(self, tau: float, *, hidden: bool = False) -> None:
        super().__init__(tau)
        self.hidden = hidden
        self.nearest = 1.0
        self.states: list[tuple[int, NDArray[np.float32]]] = []

    def route(self, observation: Observation) -> Role:
        self.nearest = min(self.nearest, abs(observation.entropy - self.tau))
        assert (observation.hidden is not None) == (self.hidden and observation.role is Role.SLM)
        if observation.hidden is not None:
            self.states.append((observation.position, observation.hidden.copy()))
        return super().route(observation)


class NotingSampler(Sampler):
    """Notes whether any choice was so close that rounding could have made another."""

    close_call = False

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        token = super().choose(logits, position, likeliest)
        lowered = logits.copy()
        lowered[token] -= SAFE_LOGIT
        self.close_call |= super().choose(lowered, position, int(lowered.argmax())) != token
        return token


def noting(run: Run, sampling: Sampling, *, hidden: bool = False) -> tuple[Run, NotingRouter, NotingSampler]:
    """A run that is watched."""
    assert run.tau is not None
    router, sampler = NotingRouter(run.tau, hidden=hidden), NotingSampler(sampling, SEED)
    run.trajectory.router = router
    run.trajectory._sampler = sampler
    return run, router, sampler


def written(run: Run) -> list[tuple[Role, int]]:
    return [(step.role, step.token) for step in run.trace.steps]


def write_all(pair: Pair, *runs: Run) -> None:
    for _ in pair.run_all(runs):
        pass


@pytest.fixture(scope="module")
def one() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("cells", [None, 1024])
def test_the_demo_pair_answers_five_at_once_as_one_by_one(
    one: Pair, temperature: float, hidden: bool, cells: int | None
) -> None:
    sampling = Sampling(temperature)
    options: dict[str, Any] = {"sampling": sampling, "seed": SEED, "max_tokens": 300}
    alone = [noting(one.ask(question, **options), sampling, hidden=hidden) for question in QUESTIONS]
    write_all(one, *(run for run, _, _ in alone))
    with load_pair("demo", options=LoadOptions(threads=1, sequences=5, cells=cells)) as five:
        together = [noting(five.ask(question, **options), sampling, hidden=hidden) for question in QUESTIONS]
        write_all(five, *(run for run, _, _ in together))
        for run, _, _ in together:
            assert run.trace.stop in ("eog", "length")
            assert run.error is None
    safe = 0
    for (single, router, sampler), (run, other, _) in zip(alone, together, strict=True):
        if router.nearest < SAFE_ENTROPY or sampler.close_call:
            continue
        safe += 1
        assert written(run) == written(single)
        assert run.trace.stop == single.trace.stop
        assert [position for position, _ in other.states] == [position for position, _ in router.states]
        for (_, mine), (_, theirs) in zip(other.states, router.states, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=SAFE_HIDDEN)
        assert bool(router.states) == hidden
    assert safe >= len(QUESTIONS) // 2, "too much is left to rounding to say anything"
    assert {role for run, _, _ in together for role, _ in written(run)} == set(Role)


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
    write_all(fresh, *runs)
    for role in Role:
        found = [run.trace.usage[role].tokens[0] for run in runs]
        asked = [(count, len(prompt)) for count, prompt in zip(found, prompts, strict=True) if count]
        assert sum(count == length for count, length in asked) == (1 if asked else 0)
        assert all(count in (length, length - common) for count, length in asked)
        if router in (role.value, "random:0.5"):
            assert len(asked) == len(runs)
    # The answers are those of a pair that knows nothing yet.
    for context in fresh.contexts.values():
        context.clear()
    again = [fresh.ask(question, system=SYSTEM, router=router, max_tokens=12, seed=SEED) for question in questions]
    write_all(fresh, *again)
    same = sum(written(mine) == written(theirs) for mine, theirs in zip(runs, again, strict=True))
    # Near ties aside, and there are some among ten answers of noise.
    assert same >= len(runs) - 2
    for run in again:
        assert run.trace.usage[Role.SLM].tokens[0] in (0, len(run.trajectory.ids(Role.SLM)) - 12)


def test_runs_are_made_when_there_is_room_for_them(fresh: Pair) -> None:
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
    # Not in the order in which they came: nobody waits for the slowest.
    assert ended != made
    assert fresh.status.live == fresh.status.put_back == 0


def test_one_with_an_error_of_its_own_leaves_the_others_alone(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    options = LoadOptions(threads=1, sequences=3, context=256)
    with load_pair(slm=files.slm, llm=files.llm, options=options) as pair:
        expected = pair.ask("Hello", router="random:0.5", max_tokens=20)
        write_all(pair, expected)
        runs = [pair.ask(text, router="random:0.5", max_tokens=20) for text in ("Hello", "Q?", "Hello", "Hello", "Q")]
        ended = [run for run, _ in pair.run_all(runs) if run.trace.stop is not None]
        for run in runs:
            broken = run in (runs[1], runs[4])
            assert run in ended
            assert run.trace.stop == ("error" if broken else "length")
            assert (run.error is not None) is broken
            assert written(run) == ([] if broken else written(expected))
        # Alone, it is raised.
        with pytest.raises(EngineError, match="at position 0"):
            list(pair.ask("Q!", max_tokens=20))
        again = pair.ask("Hello", router="random:0.5", max_tokens=20)
        write_all(pair, again)
        assert written(again) == written(expected)


def test_a_stop_ends_all_that_are_open_and_their_own_is_not_looked_at(fresh: Pair) -> None:
    runs = [fresh.ask(f"Hi {i}", router="slm", max_tokens=50, stop=lambda: pytest.fail("asked")) for i in range(6)]
    for _ in fresh.run_all(runs, stop=lambda: len(runs[3].trace.steps) == 5):
        pass
    assert [run.trace.stop for run in runs] == ["interrupted"] * 4 + [None] * 2
    assert len(runs[3].trace.steps) == 5
    assert all(run.error is None for run in runs)


def test_an_error_in_making_a_run_ends_those_that_are_open(fresh: Pair) -> None:
    first = fresh.ask("Hi", router="slm", max_tokens=50)

    def runs() -> Iterator[Run]:
        yield first
        yield fresh.ask("x" * 600)

    with pytest.raises(InputError, match="too long"):
        list(fresh.run_all(runs()))
    assert first.trace.stop == "interrupted"
    assert len(list(fresh.ask("Hi", router="slm", max_tokens=5))) == 5


def test_a_failure_of_llama_cpp_ends_all_and_the_pair_goes_on(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
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
    write_all(fresh, *later)
    assert [run.trace.stop for run in later] == ["length"] * 6


def test_many_at_once_are_refused_by_a_busy_or_closed_pair(tiny_pair: TinyPair) -> None:
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


def test_scarce_cells_change_no_answer(tiny_pair: TinyPair) -> None:
    def answers(**options: Any) -> list[tuple[list[tuple[Role, int]], bool, int]]:
        loaded = LoadOptions(threads=1, context=256, **options)
        with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=loaded) as pair:
            watched = [
                noting(pair.ask(f"Question {i}" * (1 + i % 3), router="entropy:0.2", max_tokens=40 + i), Sampling())
                for i in range(10)
            ]
            write_all(pair, *(run for run, _, _ in watched))
            if "cells" in options:
                assert all(context.used <= context.cells for context in pair.contexts.values())
            return [
                (
                    written(run),
                    router.nearest > SAFE_ENTROPY and not sampler.close_call,
                    sum(sum(run.trace.usage[role].tokens) for role in Role),
                )
                for run, router, sampler in watched
            ]

    alone, together = answers(), answers(sequences=6, cells=256)
    assert sum(safe for _, safe, _ in alone) > 2
    for (mine, safe, _), (theirs, _, _) in zip(alone, together, strict=True):
        assert not safe or mine == theirs
    # Some had to begin again.
    assert sum(count for *_, count in together) > sum(count for *_, count in alone)
