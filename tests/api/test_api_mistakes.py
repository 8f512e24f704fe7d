"""The Python API: frequent mistakes are refused with an error that names the argument and what to pass."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from api_samples import QUESTION, QUESTIONS, tokens

from rstitch_local import (
    EngineError,
    Observation,
    Pair,
    Role,
    Router,
    Sampling,
    UsageError,
    inspect_all,
    inspect_position,
    load_pair,
    register_router,
    unregister_router,
)

USER = {"role": "user", "content": QUESTION}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 2.5}, "max_tokens is 2.5, must be an integer of at least 1"),
        ({"max_tokens": "5"}, "max_tokens is '5', must be an integer of at least 1"),
        ({"seed": None}, "seed is None, must be an integer"),
        ({"seed": "a"}, "seed is 'a', must be an integer"),
        ({"stop": 5}, "stop is 5, must be a string or a list of strings"),
        ({"stop": [5]}, "5 cannot end an answer. Use non-empty strings"),
        ({"stop": ""}, "'' cannot end an answer. Use non-empty strings"),
        ({"temperature": "hot"}, "temperature is 'hot', must be a number"),
        ({"temperature": -1}, "temperature is -1, must be from 0.0"),
        ({"sampling": {"temperature": 1}}, "sampling is of type dict. Pass Sampling(...)"),
        ({"resume_steps": "abc"}, "resume_steps is of type str, must be a list of Steps. Pass `trace.steps`"),
    ],
)
def test_arguments_of_wrong_types_are_refused(demo: Pair, options: dict[str, Any], message: str) -> None:
    for start in (demo.ask, demo.generate):
        with pytest.raises(UsageError) as caught:
            start(QUESTION, **options)
        assert message in str(caught.value)


def test_a_trace_is_not_a_list_of_steps(demo: Pair) -> None:
    trace: Any = demo.generate(QUESTION, max_tokens=2)
    for use in (
        lambda: demo.ask(QUESTION, resume_steps=trace),
        lambda: inspect_position(demo, QUESTION, trace),
        lambda: list(inspect_all(demo, QUESTION, trace)),
    ):
        with pytest.raises(UsageError, match=r"is of type Trace, must be a list of Steps. Pass `trace.steps`"):
            use()


def test_no_stop_string_is_none(demo: Pair) -> None:
    nothing: Any = None
    assert tokens(demo.generate(QUESTION, stop=nothing, max_tokens=5)) == tokens(demo.generate(QUESTION, max_tokens=5))


@pytest.mark.parametrize("question", [None, 5, b"abc", USER])
def test_a_question_is_a_string(demo: Pair, question: Any) -> None:
    name = type(question).__name__
    for use in (demo.ask, demo.generate, lambda one: demo.generate_many([one])):
        with pytest.raises(UsageError, match=rf"question is of type {name}, must be a string"):
            use(question)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "must be a list of mappings"),
        (USER, "must be a list of mappings"),
        ([USER, "What?"], r"messages\[1\] must be a mapping with `role` and `content`"),
        ([{"role": "user"}], r"messages\[0\] must be a mapping with `role` and `content`"),
        ([USER, {"role": "assistant", "content": "Steps:"}], "The last message is the assistant's.*as `prefix`"),
    ],
)
def test_messages_end_with_the_user(demo: Pair, messages: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        demo.chat(messages)


@pytest.mark.parametrize("questions", [QUESTION, USER])
def test_many_questions_are_not_a_single_one(demo: Pair, questions: Any) -> None:
    with pytest.raises(UsageError, match=r"questions is of type \w+, must be a list of questions"):
        demo.generate_many(questions)


def test_tau_is_a_number(demo: Pair) -> None:
    run = demo.ask(QUESTION, router="entropy:0.1")
    tau: Any = "0.2"
    with pytest.raises(UsageError, match=r"tau is '0\.2', must be a number"):
        run.tau = tau
    assert run.tau == 0.1


def hidden_without_request(observation: Observation) -> bool:
    return bool(observation.hidden.sum() > 0)  # type: ignore[union-attr]


class NotARouter:
    def route(self, observation: Observation) -> bool:
        return observation.entropy > 1


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (hidden_without_request, "has no attribute 'sum'. An observation's field is None unless the router requests"),
        (NotARouter, "is not a router. Derive its class from Router"),
        (NotARouter(), "is not a router. Derive its class from Router"),
        ("python:no_such_module:factory", "No module named 'no_such_module'. Run from the folder"),
    ],
)
def test_routers_that_cannot_work_say_why(demo: Pair, router: Any, message: str) -> None:
    with pytest.raises((UsageError, EngineError)) as caught:
        demo.generate(QUESTION, router=router)
    assert message in str(caught.value)


def test_other_errors_of_a_router_have_no_hint(demo: Pair) -> None:
    with pytest.raises(EngineError) as caught:
        demo.generate(QUESTION, router=lambda observation: observation.entropy > 1 / 0)
    assert str(caught.value).endswith("raised ZeroDivisionError at position 0: division by zero.")


def test_a_registered_factory_that_fails_is_named(demo: Pair) -> None:
    register_router("mistaken", lambda tau: float(tau))  # type: ignore[arg-type, return-value]
    try:
        with pytest.raises(UsageError, match=r"mistaken \(.* raised TypeError: .*'tau'\.$"):
            demo.ask(QUESTION, router="mistaken")
    finally:
        unregister_router("mistaken")


def test_load_options_are_no_mapping() -> None:
    options: Any = {"threads": 1}
    with pytest.raises(UsageError, match=r"options is of type dict\. Pass LoadOptions"):
        load_pair("demo", options=options)


def test_a_file_is_not_the_name_of_a_pair() -> None:
    with pytest.raises(UsageError, match=r"a\.gguf is a file, not the name.*`slm=PATH` and `llm=PATH`"):
        load_pair("models/a.gguf")


def test_a_role_is_a_router_spec(demo: Pair) -> None:
    run = demo.ask(QUESTION, router=Role.LLM, max_tokens=2)
    assert repr(run) == "Run('llm', 0 tokens, not started)"
    assert run.finish().tokens[Role.LLM] == 2


def test_sampling_takes_numbers_only() -> None:
    value: Any = "0.7"
    with pytest.raises(UsageError, match=r"top_p is '0\.7', must be a number"):
        Sampling(top_p=value)


# Conveniences


def test_closing_a_run_leaves_the_pair_idle(demo: Pair) -> None:
    run = demo.ask(QUESTION)
    steps = iter(run)
    next(steps)
    with pytest.raises(EngineError, match=r"Pair is busy.*`Run\.close`"):
        demo.generate(QUESTIONS[1])
    run.close()
    assert (run.trace.stop, len(run.trace.steps)) == ("interrupted", 1)
    assert len(demo.generate(QUESTIONS[1], max_tokens=2).steps) == 2
    run.close()
    with closing(demo.ask(QUESTION)) as ended:
        ended.finish()
    assert ended.trace.stop == "eog"


def test_closing_has_no_effect_on_a_run_that_was_not_started(demo: Pair) -> None:
    run = demo.ask(QUESTION, max_tokens=3)
    run.close()
    iter(run)
    run.close()
    assert (len(list(run)), run.trace.stop) == (3, "length")


def test_leaving_a_for_loop_ends_the_answer(demo: Pair) -> None:
    run = demo.ask(QUESTION)
    for step in run:
        if step.position == 3:
            break
    assert (run.trace.stop, len(run.trace.steps)) == ("interrupted", 4)
    whole = demo.generate(QUESTION)
    assert tokens(demo.generate(QUESTION, resume_steps=run.trace.steps)) == tokens(whole)


def test_a_question_is_inspected_with_its_system_message(demo: Pair) -> None:
    trace = demo.generate(QUESTION, system="Be brief.", router="llm", max_tokens=4)
    found = list(inspect_all(demo, QUESTION, trace.steps, system="Be brief.", count=2))
    messages = demo.conversation(QUESTION, "Be brief.")
    assert found == list(inspect_all(demo, messages, trace.steps, count=2))
    assert [views[Role.LLM].candidates[0].token for views in found] == [step.token for step in trace.steps]


def test_tokens_and_texts_of_a_vocabulary(demo: Pair) -> None:
    ids = demo.tokenize("12 pens<|im_end|>", Role.SLM)
    assert "".join(demo.token_text(token, Role.SLM) for token in ids) == "12 pens<|im_end|>"
    for token in (-1, demo.weights[Role.SLM].n_vocab):
        with pytest.raises(UsageError, match=rf"{token} is not a token of the SLM"):
            demo.token_text(token, Role.SLM)


def test_a_router_can_read_the_text_of_the_token(demo: Pair) -> None:
    class Digits(Router):
        def route(self, observation: Observation) -> bool:
            return observation.token is not None and demo.token_text(observation.token, observation.role).isdigit()

    trace = demo.generate(QUESTION, router=Digits)
    roles = {step.role for step in trace.steps if step.text.isdigit()}
    assert roles == {Role.LLM}
