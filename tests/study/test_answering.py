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
from rstitch_local.study.answering import read_along, same_token, steps_of

MESSAGES = [{"role": "user", "content": word_problems.generate(word_problems.EVALUATION_SEED, 3).question}]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


def written(pair: Pair, router: str) -> list[Step]:
    return list(pair.chat(MESSAGES, router=router))


@pytest.mark.parametrize("role", list(Role))
def test_who_reads_its_own_answer_agrees_with_every_token(pair: Pair, role: Role) -> None:
    steps = written(pair, role.value)
    reading = read_along(pair, role, MESSAGES, [step.token for step in steps])
    assert reading.tokens == [step.token for step in steps]
    assert all(reading.agrees)
    # The same kernels, one token at a time: not even the rounding differs.
    assert reading.entropies == [step.entropy for step in steps]
    assert reading.decode_ms is not None
    assert reading.decode_ms > 0


def test_what_is_read_is_what_would_be_written(pair: Pair) -> None:
    steps = written(pair, "slm")
    reading = read_along(pair, Role.LLM, MESSAGES, [step.token for step in steps])
    assert False in reading.agrees
    assert reading.agrees == [mine == step.token for mine, step in zip(reading.tokens, steps, strict=True)]
    row = {"answer_tokens": [step.token for step in steps], "entropies": [step.entropy for step in steps]}
    for kept in (0, 1, len(steps) // 2, len(steps) - 1):
        run = pair.chat(MESSAGES, router="llm", resume_steps=steps_of(row, kept), max_tokens=kept + 1)
        assert next(iter(run)).token == reading.tokens[kept]


def test_reading_does_not_count_for_the_answer_before(pair: Pair) -> None:
    run = pair.chat(MESSAGES, router="slm")
    for _ in run:
        pass
    before = run.trace.totals()
    read_along(pair, Role.SLM, MESSAGES, [step.token for step in run.trace.steps])
    assert run.trace.totals() == before


def test_a_reader_with_too_little_room_reads_a_part(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=64, threads=1)) as pair:
        messages = [{"role": "user", "content": "ab"}]
        room = 64 - len(pair.render(messages, Role.LLM))
        reading = read_along(pair, Role.LLM, messages, [ord("c")] * 100)
        # The last of them is what would be written after a full context.
        assert len(reading.tokens) == room + 1


def test_two_spellings_of_the_end_are_one() -> None:
    def vocabulary(end: int) -> Vocabulary:
        return Vocabulary(
            [b"a", b"b", b"<end>"], end, lambda _: False, lambda t: t == end, lambda _: b"", lambda _: [0]
        )

    bridge = Bridge({Role.SLM: vocabulary(2), Role.LLM: vocabulary(1)}, {Role.SLM: {0: (1, 1)}, Role.LLM: {0: (1,)}})
    assert same_token(bridge, 2, Role.SLM, 1)
    assert same_token(bridge, 2, Role.SLM, 2)
    assert not same_token(bridge, 0, Role.SLM, 1)
    assert not same_token(bridge, 1, Role.SLM, 0)
    assert same_token(bridge, 0, Role.LLM, 1)
    assert not same_token(bridge, 0, Role.LLM, 0)
