"""Inspection: what both models make of a place, on the tiny pair, and that looking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_pair import END, SPECIALS, TinyPair, write_pair

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine import inspection
from rstitch_local.engine.inspection import inspect_position
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError, InputError
from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import Output, TokenSpan, evaluate
from rstitch_local.trace.prediction import Prediction
from rstitch_local.trace.record import Trace

QUESTION = [{"role": "user", "content": "Hello, you two."}]
ROUTER = "entropy:0.2"
BUDGET = 40
# The logits of a batch and of single tokens differ by rounding, the shares by a little less than this.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=256)) as loaded:
        yield loaded


def write(pair: Pair, **options: Any) -> Trace:
    options = {"router": ROUTER, "sampling": Sampling(0.0), "max_tokens": BUDGET, "reuse": True, **options}
    run = pair.chat(QUESTION, **options)
    for _ in run:
        pass
    return run.trace


def check(view: Prediction, step: Step) -> None:
    """The writer's view of a place is what it saw when it wrote there, at temperature 0."""
    best, second, *_ = view.candidates
    if best.probability - second.probability > ROUNDING:
        assert best.token == step.token
    assert best.probability == pytest.approx(step.top1, abs=ROUNDING)
    assert view.entropy == pytest.approx(step.entropy, abs=ROUNDING)


def test_each_writer_is_seen_as_it_saw_the_place_itself(pair: Pair) -> None:
    trace = write(pair)
    assert trace.swaps_up > 2
    assert trace.swaps_down > 2
    for index, step in enumerate(trace.steps):
        views = inspect_position(pair, QUESTION, trace.steps[:index])
        check(views[step.role], step)
        if step.swap_entropy is not None:
            assert views[Role.SLM].entropy == pytest.approx(step.swap_entropy, abs=ROUNDING)


def test_the_same_from_any_direction(pair: Pair) -> None:
    trace = write(pair)
    order = np.random.default_rng(1).permutation(BUDGET)
    first = [inspect_position(pair, QUESTION, trace.steps[:index]) for index in range(BUDGET)]
    for index in order:
        views = inspect_position(pair, QUESTION, trace.steps[:index])
        for role in Role:
            assert views[role].entropy == pytest.approx(first[index][role].entropy, abs=ROUNDING)
            shares = {c.token: c.probability for c in first[index][role].candidates}
            for candidate in views[role].candidates:
                assert candidate.probability == pytest.approx(
                    shares.get(candidate.token, candidate.probability), abs=5e-3
                )


def test_candidates_are_ordered_shares_with_their_texts(pair: Pair) -> None:
    trace = write(pair)
    for role, view in inspect_position(pair, QUESTION, trace.steps[:5], count=1000).items():
        shares = [candidate.probability for candidate in view.candidates]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        texts = {candidate.token: candidate.text for candidate in view.candidates}
        assert len(texts) == pair.weights[role].n_vocab
        assert texts[ord("a")] == "a"
        assert texts[ord("\n")] == "\n"
        # A control token has no text of its own in an answer, but a name.
        assert END in texts.values()
    views = inspect_position(pair, QUESTION, trace.steps[:5])
    assert [len(view.candidates) for view in views.values()] == [10, 10]


def test_moving_by_one_evaluates_one(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = write(pair)
    evaluated: dict[Role, int] = {}
    roles = {context: role for role, context in pair.contexts.items()}

    def count(context: Context, spans: Sequence[TokenSpan]) -> Iterator[Output]:
        evaluated[roles[context]] = sum(len(span.ids) for span in spans)
        return evaluate(context, spans)

    monkeypatch.setattr(inspection, "evaluate", count)
    inspect_position(pair, QUESTION, trace.steps[:20])
    for index in (21, 22, 21, 20, 19, 20):
        views = inspect_position(pair, QUESTION, trace.steps[:index])
        assert evaluated == {Role.SLM: 1, Role.LLM: 1}
        assert set(views) == set(Role)
        for role in Role:
            assert list(pair.contexts[role].tokens()) == [
                *pair.render(QUESTION, role),
                *(step.token for step in trace.steps[:index]),
            ]
    inspect_position(pair, QUESTION, trace.steps[:30])
    assert evaluated == {Role.SLM: 10, Role.LLM: 10}
    # Back anywhere costs one token: the rest is there.
    inspect_position(pair, QUESTION, [])
    assert evaluated == {Role.SLM: 1, Role.LLM: 1}


def test_the_answer_goes_on_as_if_nobody_had_looked(pair: Pair) -> None:
    whole = write(pair)
    begun = write(pair, max_tokens=15)
    for index in (0, 14, 3):
        inspect_position(pair, QUESTION, begun.steps[:index])
    rest = write(pair, resume_steps=begun.steps)
    assert [(step.role, step.token) for step in rest.steps] == [(step.role, step.token) for step in whole.steps]
    for role in Role:
        # The look at the fourth token had left its place in the cache: only what follows is evaluated.
        assert rest.usage[role].tokens[0] <= 1
        assert sum(rest.usage[role].tokens) <= BUDGET - 3 + 1


def test_looking_costs_the_last_answer_nothing(pair: Pair) -> None:
    trace = write(pair)
    before = trace.to_dict()
    inspect_position(pair, QUESTION, trace.steps[:7])
    inspect_position(pair, QUESTION, trace.steps[:2])
    assert trace.to_dict() == before


def test_the_beginning_the_user_gave_is_part_of_the_place(pair: Pair) -> None:
    trace = write(pair, prefix="Well, ")
    assert trace.steps
    for index in (0, 9):
        step = trace.steps[index]
        check(inspect_position(pair, QUESTION, trace.steps[:index], prefix="Well, ")[step.role], step)
    other = inspect_position(pair, QUESTION, [])
    mine = inspect_position(pair, QUESTION, [], prefix="Well, ")
    assert other[Role.SLM].entropy != pytest.approx(mine[Role.SLM].entropy, abs=ROUNDING)


def test_each_model_reads_the_other_s_tokens_in_its_own_ids(tmp_path: Path) -> None:
    # Special tokens have other ids in the two, and are likely enough to be written.
    loud = {"special_spread": 6.0}
    files = write_pair(tmp_path, loud, {**loud, "specials": (*SPECIALS[:2], "<extra>", *SPECIALS[2:])})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=256)) as pair:
        found = 0
        for seed in range(20):
            trace = write(pair, sampling=Sampling(1.0), seed=seed)
            held = {role: list(pair.contexts[role].tokens()) for role in Role}
            for index, step in enumerate(trace.steps):
                if step.token < 256 + 4:
                    continue
                found += 1
                views = inspect_position(pair, QUESTION, trace.steps[: index + 1])
                for role in Role:
                    now = list(pair.contexts[role].tokens())
                    assert now[: len(held[role])] == held[role][: len(now)]
                if index + 1 < len(trace.steps):
                    follower = trace.steps[index + 1]
                    assert views[follower.role].entropy == pytest.approx(follower.entropy, abs=ROUNDING)
        assert found > 5, "no special token was written"


def test_a_place_beyond_the_context_is_refused(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=96)) as pair:
        trace = write(pair, max_tokens=None)
        assert trace.stop == "length"
        last = len(trace.steps)
        # The last token was written from a full cache, and can be looked at; what would follow cannot.
        check(inspect_position(pair, QUESTION, trace.steps[: last - 1])[trace.steps[-1].role], trace.steps[-1])
        with pytest.raises(InputError, match="holds 96"):
            inspect_position(pair, QUESTION, trace.steps)
        assert inspect_position(pair, QUESTION, trace.steps[:3])


def test_a_pair_that_writes_is_left_alone(pair: Pair) -> None:
    expected = write(pair)
    run = iter(pair.chat(QUESTION, router=ROUTER, sampling=Sampling(0.0), max_tokens=BUDGET, reuse=True))
    steps = [next(run), next(run)]
    with pytest.raises(EngineError, match="Another answer is being generated"):
        inspect_position(pair, QUESTION, steps)
    steps += run
    assert [step.token for step in steps] == [step.token for step in expected.steps]


def test_a_closed_pair_says_so(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=96))
    trace = write(pair, max_tokens=3)
    pair.close()
    for weights in pair.weights.values():
        # llama.cpp would end the process.
        monkeypatch.setattr(weights, "tokenize", lambda *_, **__: pytest.fail("freed memory is read"))
    with pytest.raises(EngineError, match="freed"):
        inspect_position(pair, QUESTION, trace.steps)


def test_broken_logits_are_named(tmp_path: Path) -> None:
    files = write_pair(tmp_path, llm={"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=96)) as pair, pytest.raises(EngineError):
        inspect_position(pair, QUESTION, [], prefix="Q")


def test_looking_finds_room_whatever_was_written_before(tiny_pair: TinyPair) -> None:
    options = LoadOptions(context=256, sequences=4, kv_cells=256, threads=1)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as pair:
        trace = write(pair, max_tokens=150)
        assert len(trace.steps) == 150
        for _ in pair.run_all([pair.ask(f"{i}? " * 12, router="random:0.5", max_tokens=9) for i in range(4)]):
            pass
        before = inspect_position(pair, QUESTION, trace.steps[:149])
        for role, view in before.items():
            assert view.candidates
            assert pair.contexts[role].length(0) == len(pair.render(QUESTION, role)) + 149
        check(before[trace.steps[149].role], trace.steps[149])


def test_a_look_at_broken_logits_breaks_nothing_else(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=96)) as pair:
        expected = write(pair)
        with pytest.raises(EngineError, match="Broken logits"):
            inspect_position(pair, QUESTION, [], prefix=" and so on Q")
        again = write(pair, reuse=False)
        assert [step.token for step in again.steps] == [step.token for step in expected.steps]
