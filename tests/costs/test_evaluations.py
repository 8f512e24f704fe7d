"""The evaluations recovered from a trace, compared with those llama.cpp recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tiny_pair import TinyPair

from rstitch_local.builtin.word_problems import generate
from rstitch_local.costs.evaluations import Evaluation, evaluations, evaluations_of_totals
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.loading import load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.llama.batch import KINDS, BatchSlice, Usage
from rstitch_local.llama.context import Context
from rstitch_local.trace.record import Trace

Recorded = list[tuple[Role, int, int]]
ROUTERS = ["slm", "llm", "entropy:0.2", "entropy:0.5", "confidence:0.5", "random:0.1", "random:0.4", "random:0.9"]
QUESTION = [{"role": "user", "content": "What is the inner thing?"}]


@pytest.fixture(scope="module")
def tiny(tiny_pair: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def demo() -> Iterator[Pair]:
    with load_pair("demo") as loaded:
        yield loaded


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Every evaluation of the contexts: role, tokens, tokens cached before."""
    calls: Recorded = []
    original = Context.decode
    incomplete = False

    def decode(self: Context, slices: Sequence[BatchSlice], **options: Any) -> Any:
        nonlocal incomplete
        role = Role.SLM if self.weights.path.name.endswith("slm.gguf") else Role.LLM
        (batch_slice,) = slices
        # A long evaluation is split into batches, of which only the last has an output.
        _, count, length = calls.pop() if incomplete else (role, 0, self.length())
        calls.append((role, count + len(batch_slice.ids), length))
        incomplete = not batch_slice.outputs
        return original(self, slices, **options)

    monkeypatch.setattr(Context, "decode", decode)
    return calls


def counted(found: Sequence[Evaluation], role: Role) -> list[int]:
    sums = dict.fromkeys(KINDS, 0)
    for evaluation in found:
        if evaluation.role is role:
            for kind, count in evaluation.tokens().items():
                sums[kind] += count
    return list(sums.values())


def tuples(found: Sequence[Evaluation]) -> Recorded:
    return [(e.role, e.n_inf, e.n_kv) for e in found]


def check(trace: Trace, recorded: Recorded) -> None:
    found = evaluations(trace)
    assert tuples(found) == recorded
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}
    # From the stored record as well.
    assert evaluations(Trace.from_dict(trace.to_dict())) == found


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_evaluation_is_recovered(tiny: Pair, recorded: Recorded, router: str, temperature: float) -> None:
    trace = tiny.chat(QUESTION, router=router, sampling=Sampling(temperature), seed=3, max_tokens=60).finish()
    check(trace, recorded)
    assert len(recorded) >= 60


@pytest.mark.parametrize("router", ["entropy:0.005", "entropy:0.0005", "random:0.3"])
def test_answers_of_the_demo_pair(demo: Pair, recorded: Recorded, router: str) -> None:
    for index in range(8):
        recorded.clear()
        check(demo.ask(generate(3, index).question, router=router, max_tokens=120).finish(), recorded)


def interrupted_steps(pair: Pair) -> list[Step]:
    """Return steps ending with the SLM's: it is evaluated next, and with some seeds swaps at once."""
    steps = pair.chat(QUESTION, router="random:0.5", max_tokens=20).finish().steps
    while steps[-1].role is Role.LLM:
        steps.pop()
    return steps


@pytest.mark.parametrize("router", ["slm", "llm", "random:0.6"])
@pytest.mark.parametrize("seed", range(6))
def test_resumed_answers(tiny: Pair, recorded: Recorded, router: str, seed: int) -> None:
    steps = interrupted_steps(tiny)
    recorded.clear()
    trace = tiny.chat(QUESTION, router=router, seed=seed, max_tokens=50, resume_steps=steps).finish()
    check(trace, recorded)


@pytest.mark.parametrize("seed", range(6))
def test_resumed_answers_with_a_cached_prompt(tiny: Pair, recorded: Recorded, seed: int) -> None:
    steps = interrupted_steps(tiny)
    recorded.clear()
    trace = tiny.chat(QUESTION, router="random:0.6", seed=seed, max_tokens=50, resume_steps=steps, reuse=True).finish()
    assert trace.usage[Role.SLM].tokens[0] == 0
    found = evaluations(trace)
    # The number of tokens cached before is not in a trace: n_kv counts from there.
    cached = {role: next(k for r, _, k in recorded if r is role) for role in Role}
    assert tuples(found) == [(role, n, k - cached[role]) for role, n, k in recorded]
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}


@pytest.mark.parametrize("count", range(1, 40, 3))
def test_interrupted_answers(tiny: Pair, recorded: Recorded, count: int) -> None:
    """Including interruptions between the SLM's and the LLM's evaluation of a swap."""
    polls = 0

    def should_stop() -> bool:
        nonlocal polls
        polls += 1
        return polls > count

    trace = tiny.chat(QUESTION, router="random:0.5", max_tokens=60, should_stop=should_stop).finish()
    assert trace.stop == "interrupted"
    found = evaluations(trace)
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}
    # A recorded evaluation may be missing, if the answer was interrupted during it.
    assert tuples(found) == [turn for turn in recorded if turn in tuples(found)]
    assert len(recorded) - len(found) <= 1


def test_answers_that_fill_the_context(tiny_pair: TinyPair, recorded: Recorded) -> None:
    from rstitch_local.engine.loading import LoadOptions

    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=100)) as small:
        for seed in range(6):
            recorded.clear()
            trace = small.chat(QUESTION, router="random:0.5", seed=seed).finish()
            assert trace.stop == "length"
            check(trace, recorded)


@pytest.mark.parametrize("router", ROUTERS)
def test_totals_give_an_approximation(tiny: Pair, router: str) -> None:
    trace = tiny.chat(QUESTION, router=router, sampling=Sampling(1.0), seed=5, max_tokens=80).finish()
    exact, coarse = evaluations(trace), evaluations_of_totals(trace.totals())
    for role in Role:
        assert counted(coarse, role) == counted(exact, role)
        approximate, expected = ([e for e in found if e.role is role] for found in (coarse, exact))
        assert len(approximate) == len(expected)
        assert sum(e.n_inf == 1 for e in approximate) == sum(e.n_inf == 1 for e in expected)
        end = max((e.n_inf + e.n_kv for e in expected), default=0)
        assert all(e.n_kv >= 0 and e.n_inf + e.n_kv <= end for e in approximate)
        if len(expected) > 1:
            depths = [sum(e.n_kv for e in found) / len(found) for found in (approximate, expected)]
            assert depths[0] == pytest.approx(depths[1], rel=0.2)


def test_a_trace_without_steps_uses_its_totals(tiny: Pair) -> None:
    trace = tiny.chat(QUESTION, router="random:0.5", max_tokens=30).finish()
    coarse = evaluations_of_totals(trace.totals())
    trace.steps = []
    assert evaluations(trace) == coarse


def test_steps_that_do_not_match_the_totals_are_not_used() -> None:
    """Three tokens from one evaluation of four, as with drafts, are not possible with Algorithm 1."""
    steps = [Step(i, Role.LLM, i, "x", 0.0, 1.0, 4 if i == 0 else 0, 0.0) for i in range(3)]
    usage = {Role.SLM: Usage(), Role.LLM: Usage([2, 2, 0])}
    trace = Trace(0, steps=steps, usage=usage, tokens={Role.SLM: 0, Role.LLM: 3})
    assert evaluations(trace) == evaluations_of_totals(trace.totals())
    assert counted(evaluations(trace), Role.LLM) == [2, 2, 0]


def test_an_empty_trace_has_no_evaluations() -> None:
    assert evaluations(Trace(0)) == evaluations_of_totals(Trace(0).totals()) == []


def test_the_kind_of_an_evaluation() -> None:
    assert Evaluation(Role.SLM, 5, 0, 5).kind == "prompt"
    assert Evaluation(Role.SLM, 1, 5).kind == "decode"
    assert Evaluation(Role.SLM, 4, 5).kind == "catch_up"
    assert Evaluation(Role.LLM, 7, 0, 5).tokens() == {"prompt": 5, "catch_up": 2, "decode": 0}
