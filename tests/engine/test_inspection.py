"""Inspection with the tiny pair: predictions of both models at any position, without side effects."""

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
MAX_TOKENS = 40
# Logits of batches and of single tokens differ by rounding, probabilities by less than this.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=256)) as loaded:
        yield loaded


def generate(pair: Pair, **options: Any) -> Trace:
    options = {"router": ROUTER, "sampling": Sampling(0.0), "max_tokens": MAX_TOKENS, "reuse": True, **options}
    return pair.chat(QUESTION, **options).finish()


def check(prediction: Prediction, step: Step) -> None:
    """The writer's prediction is the one it made when it generated the step, at temperature 0."""
    best, second, *_ = prediction.candidates
    if best.probability - second.probability > ROUNDING:
        assert best.token == step.token
    assert best.probability == pytest.approx(step.top1, abs=ROUNDING)
    assert prediction.entropy == pytest.approx(step.entropy, abs=ROUNDING)


def test_predictions_equal_those_made_during_generation(pair: Pair) -> None:
    trace = generate(pair)
    assert trace.swaps_up > 2
    assert trace.swaps_down > 2
    for index, step in enumerate(trace.steps):
        predictions = inspect_position(pair, QUESTION, trace.steps[:index])
        check(predictions[step.role], step)
        if step.swap_entropy is not None:
            assert predictions[Role.SLM].entropy == pytest.approx(step.swap_entropy, abs=ROUNDING)


def test_predictions_do_not_depend_on_the_order_of_inspection(pair: Pair) -> None:
    trace = generate(pair)
    order = np.random.default_rng(1).permutation(MAX_TOKENS)
    first = [inspect_position(pair, QUESTION, trace.steps[:index]) for index in range(MAX_TOKENS)]
    for index in order:
        predictions = inspect_position(pair, QUESTION, trace.steps[:index])
        for role in Role:
            assert predictions[role].entropy == pytest.approx(first[index][role].entropy, abs=ROUNDING)
            probabilities = {c.token: c.probability for c in first[index][role].candidates}
            for candidate in predictions[role].candidates:
                assert candidate.probability == pytest.approx(
                    probabilities.get(candidate.token, candidate.probability), abs=5e-3
                )


def test_candidates_are_sorted_probabilities_with_texts(pair: Pair) -> None:
    trace = generate(pair)
    for role, prediction in inspect_position(pair, QUESTION, trace.steps[:5], count=1000).items():
        probabilities = [candidate.probability for candidate in prediction.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1.0)
        texts = {candidate.token: candidate.text for candidate in prediction.candidates}
        assert len(texts) == pair.weights[role].n_vocab
        assert texts[ord("a")] == "a"
        assert texts[ord("\n")] == "\n"
        # A control token has no text in an answer, but a name.
        assert END in texts.values()
    predictions = inspect_position(pair, QUESTION, trace.steps[:5])
    assert [len(prediction.candidates) for prediction in predictions.values()] == [10, 10]


def test_only_missing_tokens_are_evaluated(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = generate(pair)
    evaluated: dict[Role, int] = {}
    roles = {context: role for role, context in pair.contexts.items()}

    def count(context: Context, spans: Sequence[TokenSpan]) -> Iterator[Output]:
        evaluated[roles[context]] = sum(len(span.ids) for span in spans)
        return evaluate(context, spans)

    monkeypatch.setattr(inspection, "evaluate", count)
    inspect_position(pair, QUESTION, trace.steps[:20])
    for index in (21, 22, 21, 20, 19, 20):
        predictions = inspect_position(pair, QUESTION, trace.steps[:index])
        assert evaluated == {Role.SLM: 1, Role.LLM: 1}
        assert set(predictions) == set(Role)
        for role in Role:
            assert list(pair.contexts[role].tokens()) == [
                *pair.render(QUESTION, role),
                *(step.token for step in trace.steps[:index]),
            ]
    inspect_position(pair, QUESTION, trace.steps[:30])
    assert evaluated == {Role.SLM: 10, Role.LLM: 10}
    # Moving back evaluates one token: the others are cached.
    inspect_position(pair, QUESTION, [])
    assert evaluated == {Role.SLM: 1, Role.LLM: 1}


def test_an_answer_resumes_unchanged_after_inspection(pair: Pair) -> None:
    whole = generate(pair)
    started = generate(pair, max_tokens=15)
    for index in (0, 14, 3):
        inspect_position(pair, QUESTION, started.steps[:index])
    rest = generate(pair, resume_steps=started.steps)
    assert [(step.role, step.token) for step in rest.steps] == [(step.role, step.token) for step in whole.steps]
    for role in Role:
        # Inspecting the fourth position left the caches there: only the tokens after it are evaluated.
        assert rest.usage[role].tokens[0] <= 1
        assert sum(rest.usage[role].tokens) <= MAX_TOKENS - 3 + 1


def test_inspection_does_not_change_a_trace(pair: Pair) -> None:
    trace = generate(pair)
    before = trace.to_dict()
    inspect_position(pair, QUESTION, trace.steps[:7])
    inspect_position(pair, QUESTION, trace.steps[:2])
    assert trace.to_dict() == before


def test_the_prefix_is_part_of_the_position(pair: Pair) -> None:
    trace = generate(pair, prefix="Well, ")
    assert trace.steps
    for index in (0, 9):
        step = trace.steps[index]
        check(inspect_position(pair, QUESTION, trace.steps[:index], prefix="Well, ")[step.role], step)
    other = inspect_position(pair, QUESTION, [])
    with_prefix = inspect_position(pair, QUESTION, [], prefix="Well, ")
    assert other[Role.SLM].entropy != pytest.approx(with_prefix[Role.SLM].entropy, abs=ROUNDING)


def test_tokens_of_the_other_model_are_converted(tmp_path: Path) -> None:
    # Special tokens have different ids in the two models, and are likely enough to be generated.
    likely_specials = {"special_spread": 6.0}
    files = write_pair(
        tmp_path, likely_specials, {**likely_specials, "specials": (*SPECIALS[:2], "<extra>", *SPECIALS[2:])}
    )
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=256)) as pair:
        checked = 0
        for seed in range(20):
            trace = generate(pair, sampling=Sampling(1.0), seed=seed)
            held = {role: list(pair.contexts[role].tokens()) for role in Role}
            for index, step in enumerate(trace.steps):
                if step.token < 256 + 4:
                    continue
                checked += 1
                predictions = inspect_position(pair, QUESTION, trace.steps[: index + 1])
                for role in Role:
                    cached = list(pair.contexts[role].tokens())
                    assert cached[: len(held[role])] == held[role][: len(cached)]
                if index + 1 < len(trace.steps):
                    next_step = trace.steps[index + 1]
                    assert predictions[next_step.role].entropy == pytest.approx(next_step.entropy, abs=ROUNDING)
        assert checked > 5, "no special token was written"


def test_a_position_beyond_the_context_is_refused(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=96)) as pair:
        trace = generate(pair, max_tokens=None)
        assert trace.stop == "length"
        last = len(trace.steps)
        # The last token was generated with a full cache and can be inspected; the position after it cannot.
        check(inspect_position(pair, QUESTION, trace.steps[: last - 1])[trace.steps[-1].role], trace.steps[-1])
        with pytest.raises(InputError, match="holds 96"):
            inspect_position(pair, QUESTION, trace.steps)
        assert inspect_position(pair, QUESTION, trace.steps[:3])


def test_a_busy_pair_refuses_inspection(pair: Pair) -> None:
    expected = generate(pair)
    run = iter(pair.chat(QUESTION, router=ROUTER, sampling=Sampling(0.0), max_tokens=MAX_TOKENS, reuse=True))
    steps = [next(run), next(run)]
    with pytest.raises(EngineError, match="Another answer is being generated"):
        inspect_position(pair, QUESTION, steps)
    steps += run
    assert [step.token for step in steps] == [step.token for step in expected.steps]


def test_a_closed_pair_refuses_inspection(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=96))
    trace = generate(pair, max_tokens=3)
    pair.close()
    for weights in pair.weights.values():
        # llama.cpp would crash.
        monkeypatch.setattr(weights, "tokenize", lambda *_, **__: pytest.fail("freed memory is read"))
    with pytest.raises(EngineError, match="freed"):
        inspect_position(pair, QUESTION, trace.steps)


def test_broken_logits_are_reported(tmp_path: Path) -> None:
    files = write_pair(tmp_path, llm={"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=96)) as pair, pytest.raises(EngineError):
        inspect_position(pair, QUESTION, [], prefix="Q")


def test_inspection_evicts_what_earlier_answers_left(tiny_pair: TinyPair) -> None:
    options = LoadOptions(context=256, sequences=4, kv_cells=256, threads=1)
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=options) as pair:
        trace = generate(pair, max_tokens=150)
        assert len(trace.steps) == 150
        for _ in pair.run_all([pair.ask(f"{i}? " * 12, router="random:0.5", max_tokens=9) for i in range(4)]):
            pass
        before = inspect_position(pair, QUESTION, trace.steps[:149])
        for role, prediction in before.items():
            assert prediction.candidates
            assert pair.contexts[role].length(0) == len(pair.render(QUESTION, role)) + 149
        check(before[trace.steps[149].role], trace.steps[149])


def test_inspecting_broken_logits_does_not_affect_later_answers(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(context=96)) as pair:
        expected = generate(pair)
        with pytest.raises(EngineError, match="Broken logits"):
            inspect_position(pair, QUESTION, [], prefix=" and so on Q")
        again = generate(pair, reuse=False)
        assert [step.token for step in again.steps] == [step.token for step in expected.steps]
