"""The evaluations of an answer, recovered from its trace, against those that were really made."""

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
from rstitch_local.engine.run import Run
from rstitch_local.llama.batch import KINDS, BatchSlice, Usage
from rstitch_local.llama.context import Context
from rstitch_local.trace.record import Trace

Made = list[tuple[Role, int, int]]
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
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Every evaluation as it is asked of the caches: who, tokens, tokens cached before."""
    found: Made = []
    original = Context.decode
    partly = False

    def decode(self: Context, parts: Sequence[BatchSlice], **options: Any) -> Any:
        nonlocal partly
        role = Role.SLM if self.weights.path.name.endswith("slm.gguf") else Role.LLM
        (part,) = parts
        # A long one comes in batches, of which only the last one gives something.
        _, count, length = found.pop() if partly else (role, 0, self.length())
        found.append((role, count + len(part.ids), length))
        partly = not part.outputs
        return original(self, parts, **options)

    monkeypatch.setattr(Context, "decode", decode)
    return found


def finish(run: Run) -> Trace:
    for _ in run:
        pass
    return run.trace


def counted(found: Sequence[Evaluation], role: Role) -> list[int]:
    sums = dict.fromkeys(KINDS, 0)
    for evaluation in found:
        if evaluation.role is role:
            for kind, count in evaluation.tokens().items():
                sums[kind] += count
    return list(sums.values())


def as_made(found: Sequence[Evaluation]) -> Made:
    return [(e.role, e.n_inf, e.n_kv) for e in found]


def check(trace: Trace, made: Made) -> None:
    found = evaluations(trace)
    assert as_made(found) == made
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}
    # They can be told again from what was written to a file.
    assert evaluations(Trace.from_dict(trace.to_dict())) == found


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_evaluation_is_found(tiny: Pair, made: Made, router: str, temperature: float) -> None:
    trace = finish(tiny.chat(QUESTION, router=router, sampling=Sampling(temperature), seed=3, max_tokens=60))
    check(trace, made)
    assert len(made) >= 60


@pytest.mark.parametrize("router", ["entropy:0.005", "entropy:0.0005", "random:0.3"])
def test_of_the_demo_pair(demo: Pair, made: Made, router: str) -> None:
    for index in range(8):
        made.clear()
        check(finish(demo.ask(generate(3, index).question, router=router, max_tokens=120)), made)


def begun(pair: Pair) -> list[Step]:
    """An answer whose last word is the SLM's: it is asked next, and gives way at once with some seeds."""
    steps = finish(pair.chat(QUESTION, router="random:0.5", max_tokens=20)).steps
    while steps[-1].role is Role.LLM:
        steps.pop()
    return steps


@pytest.mark.parametrize("router", ["slm", "llm", "random:0.6"])
@pytest.mark.parametrize("seed", range(6))
def test_of_an_answer_that_goes_on(tiny: Pair, made: Made, router: str, seed: int) -> None:
    kept = begun(tiny)
    made.clear()
    trace = finish(tiny.chat(QUESTION, router=router, seed=seed, max_tokens=50, resume_steps=kept))
    check(trace, made)


@pytest.mark.parametrize("seed", range(6))
def test_of_an_answer_whose_beginning_was_cached(tiny: Pair, made: Made, seed: int) -> None:
    kept = begun(tiny)
    made.clear()
    trace = finish(tiny.chat(QUESTION, router="random:0.6", seed=seed, max_tokens=50, resume_steps=kept, reuse=True))
    assert trace.usage[Role.SLM].tokens[0] == 0
    found = evaluations(trace)
    # How many were cached before is not in a trace: n_kv counts from there.
    cached = {role: next(k for r, _, k in made if r is role) for role in Role}
    assert as_made(found) == [(role, n, k - cached[role]) for role, n, k in made]
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}


@pytest.mark.parametrize("count", range(1, 40, 3))
def test_of_an_answer_that_was_stopped(tiny: Pair, made: Made, count: int) -> None:
    """Also between a turn of the SLM that gave way and the LLM's."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > count

    trace = finish(tiny.chat(QUESTION, router="random:0.5", max_tokens=60, should_stop=stop))
    assert trace.stop == "interrupted"
    found = evaluations(trace)
    assert {role: counted(found, role) for role in Role} == {role: trace.usage[role].tokens for role in Role}
    # A turn that was asked for and stopped before its first batch was made nevertheless.
    assert as_made(found) == [turn for turn in made if turn in as_made(found)]
    assert len(made) - len(found) <= 1


def test_of_an_answer_without_room(tiny_pair: TinyPair, made: Made) -> None:
    from rstitch_local.engine.loading import LoadOptions

    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=100)) as small:
        for seed in range(6):
            made.clear()
            trace = finish(small.chat(QUESTION, router="random:0.5", seed=seed))
            assert trace.stop == "length"
            check(trace, made)


@pytest.mark.parametrize("router", ROUTERS)
def test_totals_tell_about_the_same(tiny: Pair, router: str) -> None:
    trace = finish(tiny.chat(QUESTION, router=router, sampling=Sampling(1.0), seed=5, max_tokens=80))
    exact, coarse = evaluations(trace), evaluations_of_totals(trace.totals())
    for role in Role:
        assert counted(coarse, role) == counted(exact, role)
        mine, theirs = ([e for e in found if e.role is role] for found in (coarse, exact))
        assert len(mine) == len(theirs)
        assert sum(e.n_inf == 1 for e in mine) == sum(e.n_inf == 1 for e in theirs)
        end = max((e.n_inf + e.n_kv for e in theirs), default=0)
        assert all(e.n_kv >= 0 and e.n_inf + e.n_kv <= end for e in mine)
        if len(theirs) > 1:
            depths = [sum(e.n_kv for e in found) / len(found) for found in (mine, theirs)]
            assert depths[0] == pytest.approx(depths[1], rel=0.2)


def test_a_trace_without_steps_gives_what_its_totals_tell(tiny: Pair) -> None:
    trace = finish(tiny.chat(QUESTION, router="random:0.5", max_tokens=30))
    coarse = evaluations_of_totals(trace.totals())
    trace.steps = []
    assert evaluations(trace) == coarse


def test_steps_of_another_algorithm_are_not_believed() -> None:
    """Three tokens from one evaluation of four, as drafting gives them: no turns of Algorithm 1 add up to that."""
    steps = [Step(i, Role.LLM, i, "x", 0.0, 1.0, 4 if i == 0 else 0, 0.0) for i in range(3)]
    usage = {Role.SLM: Usage(), Role.LLM: Usage([2, 2, 0])}
    trace = Trace(0, steps=steps, usage=usage, tokens={Role.SLM: 0, Role.LLM: 3})
    assert evaluations(trace) == evaluations_of_totals(trace.totals())
    assert counted(evaluations(trace), Role.LLM) == [2, 2, 0]


def test_nothing_evaluated_is_nothing() -> None:
    assert evaluations(Trace(0)) == evaluations_of_totals(Trace(0).totals()) == []


def test_kinds_are_counted_as_the_caches_count_them() -> None:
    assert Evaluation(Role.SLM, 5, 0, 5).kind == "prompt"
    assert Evaluation(Role.SLM, 1, 5).kind == "decode"
    assert Evaluation(Role.SLM, 4, 5).kind == "catch_up"
    assert Evaluation(Role.LLM, 7, 0, 5).tokens() == {"prompt": 5, "catch_up": 2, "decode": 0}
