from __future__ import annotations

from collections.abc import Iterator

import pytest
from tiny_pair import TinyPair

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.study.answering import resume_steps, score_answer, tokens_match

MESSAGES = [{"role": "user", "content": word_problems.generate(word_problems.EVALUATION_SEED, 3).question}]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


def answer(pair: Pair, router: str) -> list[Step]:
    return list(pair.chat(MESSAGES, router=router))


@pytest.mark.parametrize("role", list(Role))
def test_a_model_agrees_with_every_token_of_its_own_answer(pair: Pair, role: Role) -> None:
    steps = answer(pair, role.value)
    score = score_answer(pair, role, MESSAGES, [step.token for step in steps])
    assert score.tokens == [step.token for step in steps]
    assert all(score.agrees)
    # One token per evaluation uses the same kernels, so not even rounding differs.
    assert score.entropies == [step.entropy for step in steps]
    assert score.decode_ms is not None
    assert score.decode_ms > 0


def test_the_prediction_is_the_token_the_model_would_generate(pair: Pair) -> None:
    steps = answer(pair, "slm")
    score = score_answer(pair, Role.LLM, MESSAGES, [step.token for step in steps])
    assert False in score.agrees
    assert score.agrees == [predicted == step.token for predicted, step in zip(score.tokens, steps, strict=True)]
    row = {"answer_tokens": [step.token for step in steps], "entropies": [step.entropy for step in steps]}
    for count in (0, 1, len(steps) // 2, len(steps) - 1):
        run = pair.chat(MESSAGES, router="llm", resume_steps=resume_steps(row, count), max_tokens=count + 1)
        assert next(iter(run)).token == score.tokens[count]


def test_scoring_does_not_change_the_totals_of_the_answer(pair: Pair) -> None:
    trace = pair.chat(MESSAGES, router="slm").finish()
    before = trace.totals()
    score_answer(pair, Role.SLM, MESSAGES, [step.token for step in trace.steps])
    assert trace.totals() == before


def test_a_full_context_ends_the_scoring(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=64, threads=1)) as pair:
        messages = [{"role": "user", "content": "ab"}]
        capacity = 64 - len(pair.render(messages, Role.LLM))
        score = score_answer(pair, Role.LLM, messages, [ord("c")] * 100)
        # The last prediction follows a full context.
        assert len(score.tokens) == capacity + 1


def test_different_end_tokens_match() -> None:
    def vocabulary(end: int) -> Vocabulary:
        return Vocabulary(
            [b"a", b"b", b"<end>"], end, lambda _: False, lambda t: t == end, lambda _: b"", lambda _: [0]
        )

    bridge = Bridge({Role.SLM: vocabulary(2), Role.LLM: vocabulary(1)}, {Role.SLM: {0: (1, 1)}, Role.LLM: {0: (1,)}})
    assert tokens_match(bridge, 2, Role.SLM, 1)
    assert tokens_match(bridge, 2, Role.SLM, 2)
    assert not tokens_match(bridge, 0, Role.SLM, 1)
    assert not tokens_match(bridge, 1, Role.SLM, 0)
    assert tokens_match(bridge, 0, Role.LLM, 1)
    assert not tokens_match(bridge, 0, Role.LLM, 0)
