"""Answers that start from resumed steps, from a prefix, or from cached tokens; with the demo pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_pair import CHATML, write_model

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import UsageError
from rstitch_local.trace.record import Trace

ROUTERS = [
    *("slm", "llm", "entropy:0.005", "entropy:0", "hysteresis:0.01:0.002", "one:0.005"),
    *("window:4:0.003", "momentum:0.7:0.003", "stay:3:0.005", "margin:0.5"),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


def turns(*indexes: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": word_problems.generate(word_problems.EXAMPLES_SEED, i).question} for i in indexes
    ]


def generated(pair: Pair, index: int = 1, **options: object) -> Trace:
    return pair.chat(turns(index), **options).finish()  # type: ignore[arg-type]


def summary(steps: list[Step]) -> list[tuple[int, Role, int, str]]:
    return [(step.position, step.role, step.token, step.text) for step in steps]


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_resumed_answer_equals_the_uninterrupted_one(pair: Pair, router: str, temperature: float) -> None:
    whole = generated(pair, router=router, sampling=Sampling(temperature), seed=11)
    half = len(whole.steps) // 2
    again = generated(
        pair, router=router, sampling=Sampling(temperature), seed=11, resume_steps=whole.steps[:half], reuse=True
    )
    # Rounding can differ between one batch and many; on this pair it changes no token.
    assert summary(again.steps) == summary(whole.steps)
    assert again.resumed_tokens == half
    assert (again.swaps_up, again.swaps_down, again.stop) == (whole.swaps_up, whole.swaps_down, "eog")
    assert again.tokens == whole.tokens


def test_only_new_tokens_are_evaluated(pair: Pair) -> None:
    first = generated(pair, router="entropy:0.005")
    again = generated(pair, router="entropy:0.005", reuse=True)
    assert summary(again.steps) == summary(first.steps)
    for role in Role:
        assert again.spent(role, "prompt")[0] <= 1
    fresh = generated(pair, router="entropy:0.005")
    assert fresh.spent(Role.SLM, "prompt") != again.spent(Role.SLM, "prompt")
    assert fresh.spent(Role.SLM, "prompt")[0] == len(pair.render(turns(1), Role.SLM))


def test_another_conversation_shares_only_its_prefix(pair: Pair) -> None:
    generated(pair, 1, router="slm")
    other = generated(pair, 2, router="slm", reuse=True)
    assert summary(other.steps) == summary(generated(pair, 2, router="slm").steps)
    assert other.spent(Role.SLM, "prompt")[0] < len(pair.render(turns(2), Role.SLM))


def test_an_answer_continues_a_given_prefix(pair: Pair) -> None:
    problem = word_problems.generate(word_problems.EXAMPLES_SEED, 0)
    trace = generated(pair, 0, router="slm", prefix="Steps:\n101*5=505\n1")
    assert trace.text.startswith("01+505=606")
    assert f"\\boxed{{{problem.answer}}}" in trace.text
    assert trace.steps[0].position == 0


def test_resumed_steps_count_towards_max_tokens(pair: Pair) -> None:
    whole = generated(pair, router="slm")
    trace = generated(pair, router="slm", resume_steps=whole.steps[:5], max_tokens=5)
    assert (trace.stop, len(trace.steps), trace.spent(Role.SLM, "decode")[0]) == ("length", 5, 0)
    ended = generated(pair, router="slm", resume_steps=whole.steps)
    assert (ended.stop, summary(ended.steps)) == ("eog", summary(whole.steps))


def test_changes_of_tau_are_recorded(pair: Pair) -> None:
    run = pair.chat(turns(1), router="entropy:0")
    assert run.tau == 0
    for step in run:
        if step.position == 7:
            run.tau = 0.5
            run.tau = 0.5
    assert run.trace.taus == [(8, 0.5)]
    assert run.trace.steps[-1].role is Role.SLM
    fixed = pair.chat(turns(1), router="llm")
    with pytest.raises(UsageError, match="has no tau"):
        fixed.tau = 0.1
    assert fixed.tau is None
    assert fixed.trace.taus == []


def test_tau_of_a_window_router_can_be_changed(pair: Pair) -> None:
    run = pair.chat(turns(1), router="window:4:0")
    for step in run:
        if step.position == 7:
            run.tau = 1.0
    assert run.trace.taus == [(8, 1.0)]
    assert [step.role for step in run.trace.steps[9:]] == [Role.SLM] * len(run.trace.steps[9:])


def test_the_demo_pair_has_no_thinking(pair: Pair) -> None:
    assert not pair.renderer.has_thinking_switch
    assert not pair.renderer.opens_thinking(turns(1))


def test_the_thinking_switch_reaches_the_template(tmp_path: Path) -> None:
    template = CHATML + "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}"
    slm, llm = (write_model(tmp_path / f"{role}.gguf", template=template) for role in Role)
    with load_pair(slm=slm, llm=llm) as loaded:
        assert loaded.renderer.has_thinking_switch
        assert loaded.renderer.opens_thinking(turns(0))
        assert not loaded.renderer.opens_thinking(turns(0), thinking=False)
        assert loaded.renderer.text(turns(0), Role.LLM).endswith("<think>\n")
        ids = [loaded.render(turns(0), Role.SLM, thinking=on) for on in (True, False)]
        assert len(ids[0]) > len(ids[1])
