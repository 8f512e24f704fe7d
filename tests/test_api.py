"""The public Python API on the demo pair: every function and parameter, and the errors."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, get_args, get_type_hints

import llama_cpp
import pytest
from tiny_pair import CHATML, TinyPair, write_pair

import rstitch_local
from rstitch_local import (
    EngineError,
    EntropyRouter,
    FixedRouter,
    InputError,
    LoadOptions,
    ModelError,
    Observation,
    Pair,
    PromptTooLongError,
    RandomRouter,
    Role,
    Router,
    Run,
    Sampling,
    Step,
    Trace,
    UsageError,
    WindowRouter,
    inspect_all,
    inspect_position,
    load_pair,
    register_router,
    unregister_router,
)
from rstitch_local.builtin import word_problems
from rstitch_local.engine import loading, models
from rstitch_local.engine.contexts import open_contexts
from rstitch_local.engine.options import MAX_SEQUENCES, AnswerOptions, KvType
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import KV_TYPES, Decoded
from rstitch_local.llama.weights import Weights

QUESTIONS = [word_problems.generate(word_problems.EXAMPLES_SEED, index).question for index in range(6)]
QUESTION = QUESTIONS[0]
TOO_LONG = "Tom has 12 pens. " * 1000


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1)) as loaded:
        yield loaded


def tokens(trace: Trace) -> list[tuple[Role, int]]:
    return [(step.role, step.token) for step in trace.steps]


def prompt_of(run: Run, role: Role = Role.SLM) -> list[int]:
    return list(run.trajectory.ids(role))


# Names


def test_every_public_name_can_be_imported() -> None:
    names = rstitch_local.__all__
    assert names == sorted(names)
    assert dir(rstitch_local) == names
    for name in names:
        assert getattr(rstitch_local, name) is not None
    assert {"__version__", *rstitch_local._MODULES} == set(names)


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(str(rstitch_local.__file__)).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    found = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert found == {name: f"rstitch_local.{module}" for name, module in rstitch_local._MODULES.items()}
    for name, module in found.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(rstitch_local, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rstitch_local.nothing


def test_methods_that_forward_options_list_them_all() -> None:
    chat = inspect.signature(Pair.chat).parameters
    keywords = {name for name, parameter in chat.items() if parameter.kind is parameter.KEYWORD_ONLY}
    assert set(AnswerOptions.__annotations__) == keywords - {"resume_steps", "tag"}
    ask = inspect.signature(Pair.ask).parameters
    assert {name for name in ask if name not in ("self", "question")} == keywords | {"system"}
    for name in keywords:
        assert ask[name] == chat[name]
    hints, chat_hints = get_type_hints(AnswerOptions), get_type_hints(Pair.chat)
    assert {name: chat_hints[name] for name in hints} == hints
    for method in (Pair.generate, Pair.generate_many, Pair.astream):
        shown = inspect.signature(method).parameters
        assert set(AnswerOptions.__annotations__) <= set(shown)
        assert "options" not in shown
        assert all(shown[name].annotation == chat[name].annotation for name in AnswerOptions.__annotations__)


# Answers


def test_a_run_streams_steps(pair: Pair) -> None:
    run = pair.ask(QUESTION)
    assert (run.text, run.error, run.tag, run.trace.stop) == ("", None, None, None)
    text = ""
    for step in run:
        assert isinstance(step, Step)
        text += step.text
        assert run.text == text
    assert run.trace.stop == "eog"
    assert run.trace.steps
    assert tokens(pair.ask(QUESTION).finish()) == tokens(run.trace)


def test_generate_takes_a_question_or_messages(pair: Pair) -> None:
    expected = pair.ask(QUESTION).finish()
    assert tokens(pair.generate(QUESTION)) == tokens(expected)
    assert tokens(pair.generate([{"role": "user", "content": QUESTION}])) == tokens(expected)
    assert tokens(pair.chat([{"role": "user", "content": QUESTION}]).finish()) == tokens(expected)


def test_a_system_message_comes_first(pair: Pair) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    assert pair.conversation(QUESTION, "Be brief.") == messages
    assert prompt_of(pair.ask(QUESTION, system="Be brief.")) == prompt_of(pair.chat(messages))
    with pytest.raises(UsageError, match="system is given with messages"):
        pair.generate(messages, system="Be brief.")


@pytest.mark.parametrize("wrong", [[], "What?"])
def test_chat_requires_messages(pair: Pair, wrong: Any) -> None:
    with pytest.raises(UsageError, match="must be a list of mappings"):
        pair.chat(wrong)


def test_ask_requires_a_string(pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"type list.*Pass messages to `chat`"):
        pair.ask([{"role": "user", "content": QUESTION}])  # type: ignore[arg-type]


def test_single_sampling_values_replace_those_of_sampling(pair: Pair) -> None:
    def sampling(**options: Any) -> dict[str, Any]:
        return dict(pair.ask(QUESTION, **options).trace.settings["sampling"])

    assert sampling(sampling=Sampling(0.9, top_k=5)) == {"temperature": 0.9, "top_k": 5, "top_p": 1.0, "min_p": 0.0}
    assert sampling(sampling=Sampling(0.9, top_k=5), temperature=0.2, min_p=0.1)["top_k"] == 5
    assert sampling(sampling=Sampling(0.9), temperature=0.0)["temperature"] == 0.0
    changed = sampling(temperature=0.7, top_p=0.8, top_k=40, min_p=0.05)
    assert changed == {"temperature": 0.7, "top_k": 40, "top_p": 0.8, "min_p": 0.05}
    assert sampling()["temperature"] == pair.defaults.sampling.temperature
    with pytest.raises(UsageError, match=r"top_p is 1\.5"):
        sampling(top_p=1.5)


def test_the_seed_determines_the_answer(pair: Pair) -> None:
    options: dict[str, Any] = {"router": "slm", "temperature": 3.0, "max_tokens": 20}
    first, again, other = (pair.generate(QUESTION, seed=seed, **options) for seed in (1, 1, 2))
    assert tokens(first) == tokens(again) != tokens(other)
    assert first.seed == 1


def test_max_tokens_limits_the_answer(pair: Pair) -> None:
    trace = pair.generate(QUESTION, max_tokens=3)
    assert (len(trace.steps), trace.stop, trace.settings["max_tokens"]) == (3, "length", 3)
    for wrong in (0, -1):
        with pytest.raises(UsageError, match=rf"max_tokens is {wrong}, must be at least 1"):
            pair.ask(QUESTION, max_tokens=wrong)


def test_stop_strings_end_the_answer(pair: Pair) -> None:
    whole = pair.generate(QUESTION, router="llm")
    assert "stop" not in whole.settings
    cut = whole.text[10:13]
    for stop in (cut, [cut], ("never to be found", cut)):
        trace = pair.generate(QUESTION, router="llm", stop=stop)
        assert trace.text == whole.text[: whole.text.index(cut)]
        assert trace.stop == "stop"
        assert trace.settings["stop"] == ([cut] if isinstance(stop, str) else list(stop))
    with pytest.raises(UsageError, match="Invalid stop string"):
        pair.ask(QUESTION, stop=["a", ""])


def test_should_stop_interrupts(pair: Pair) -> None:
    run: Run = pair.ask(QUESTION, should_stop=lambda: len(run.trace.steps) == 4)
    assert len(list(run)) == 4
    assert run.trace.stop == "interrupted"


def test_thinking_is_passed_to_the_template(tmp_path: Path) -> None:
    template = CHATML + "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}"
    files = write_pair(tmp_path, {"template": template}, {"template": template})
    with load_pair(slm=files.slm, llm=files.llm) as loaded:
        default, on, off = (prompt_of(loaded.ask("Hi", thinking=thinking)) for thinking in (None, True, False))
        assert default == on
        assert len(off) < len(on)


def test_a_prefix_is_evaluated_and_not_part_of_the_answer(pair: Pair) -> None:
    run = pair.ask(QUESTION, prefix="Steps:\n")
    assert len(prompt_of(run)) > len(prompt_of(pair.ask(QUESTION)))
    assert not run.finish().text.startswith("Steps:")


def test_resumed_steps_are_part_of_the_answer(pair: Pair) -> None:
    whole = pair.generate(QUESTION, temperature=0.7)
    half = whole.steps[: len(whole.steps) // 2]
    for resumed in (
        pair.generate(QUESTION, temperature=0.7, resume_steps=half),
        pair.ask(QUESTION, temperature=0.7, resume_steps=half).finish(),
    ):
        assert tokens(resumed) == tokens(whole)
        assert resumed.resumed_tokens == len(half)


def test_reuse_evaluates_only_what_is_new(pair: Pair) -> None:
    first = pair.generate(QUESTION, router="slm")
    again = pair.generate(QUESTION, router="slm", reuse=True)
    assert tokens(first) == tokens(again)
    assert first.spent(Role.SLM, "prompt")[0] == len(pair.render(pair.conversation(QUESTION), Role.SLM))
    assert again.spent(Role.SLM, "prompt")[0] == 1


# Runs


def test_a_run_is_iterated_once(pair: Pair) -> None:
    run = pair.ask(QUESTION, max_tokens=4)
    steps = iter(run)
    next(steps)
    for again in (lambda: iter(run), lambda: list(run), run.finish, lambda: aiter(run)):
        with pytest.raises(EngineError, match=r"Run already iterated.*\(running\)"):
            again()
    assert len(list(steps)) == 3
    with pytest.raises(EngineError, match=r"Run already iterated.*\(length\).*`trace.steps`"):
        iter(run)
    with pytest.raises(EngineError, match="Run already iterated"):
        list(pair.run_all([run]))


def test_finish_returns_the_trace_of_an_ended_run(pair: Pair) -> None:
    run = pair.ask(QUESTION, max_tokens=4)
    assert run.finish() is run.trace is run.finish()
    assert len(run.trace.steps) == 4
    broken = pair.ask(QUESTION, router=lambda _observation: None)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(EngineError, match="Invalid router result"):
            broken.finish()
    assert broken.error is not None
    assert broken.trace.stop == "error"
    assert str(broken.trace.error).startswith("Invalid router result: ")


def test_two_runs_at_the_same_time_are_refused_with_a_hint(pair: Pair) -> None:
    first, second = pair.ask(QUESTION, max_tokens=5), pair.ask(QUESTIONS[1], max_tokens=5)
    steps = iter(first)
    next(steps)
    with pytest.raises(EngineError, match=r"Pair is busy.*`Pair.generate_many` or `Pair.run_all`"):
        next(iter(second))
    steps.close()
    assert first.trace.stop == "interrupted"
    # It has not been started, and can still be iterated.
    assert len(list(second)) == 5


def test_a_run_carries_its_tag(pair: Pair) -> None:
    tag = object()
    assert pair.ask(QUESTION, tag=tag).tag is tag
    assert pair.chat([{"role": "user", "content": QUESTION}], tag=3).tag == 3


def test_tau_can_be_changed_where_the_router_has_one(pair: Pair) -> None:
    run = pair.ask(QUESTION, router="entropy:1")
    for step in run:
        if step.position == 2:
            run.tau = -1.0
    assert run.tau == -1.0
    assert run.trace.taus == [(3, -1.0)]
    assert {step.role for step in run.trace.steps[4:]} == {Role.LLM}
    fixed = pair.ask(QUESTION, router="llm")
    assert fixed.tau is None
    with pytest.raises(UsageError, match="has no tau"):
        fixed.tau = 0.1


def test_representations_show_what_matters(pair: Pair) -> None:
    assert repr(pair) == f"Pair('demo', router={pair.defaults.router!r}, options=LoadOptions(threads=1))"
    run = pair.ask(QUESTION, router="slm", max_tokens=3, tag="first")
    assert repr(run) == "Run('slm', 0 tokens, not started, tag='first')"
    next(steps := iter(run))
    assert repr(run) == "Run('slm', 1 tokens, running, tag='first')"
    list(steps)
    assert repr(run) == "Run('slm', 3 tokens, length, tag='first')"
    assert repr(Sampling(0.7)) == "Sampling(temperature=0.7, top_k=0, top_p=1.0, min_p=0.0)"


# Routers


class Alternating(Router):
    """Keeps state: chooses one model at every third call, else the other."""

    def __init__(self, first: Role = Role.LLM) -> None:
        self.first = first
        self._calls = 0

    def route(self, observation: Observation) -> Role:  # noqa: ARG002
        self._calls += 1
        return self.first if self._calls % 3 == 1 else self.first.other


def by_entropy(observation: Observation) -> bool:
    return observation.entropy > 0.02


@pytest.mark.parametrize(
    ("router", "name"),
    [
        ("entropy:0.02", "entropy:0.02"),
        (EntropyRouter(0.02), "entropy:0.02"),
        (lambda: EntropyRouter(0.02), "entropy:0.02"),
        (by_entropy, "test_api.by_entropy"),
    ],
)
def test_a_router_can_be_given_in_many_ways(pair: Pair, router: Any, name: str) -> None:
    trace = pair.generate(QUESTION, router=router)
    assert tokens(trace) == tokens(pair.generate(QUESTION, router="entropy:0.02"))
    assert trace.settings["router"] == name


def test_a_router_class_is_created_for_each_answer(pair: Pair) -> None:
    traces = [pair.generate(QUESTION, router=Alternating, max_tokens=8) for _ in range(2)]
    assert tokens(traces[0]) == tokens(traces[1])
    assert traces[0].settings["router"] == "Alternating(first=<Role.LLM: 'llm'>)"
    assert min(traces[0].tokens.values()) > 0


def test_factories_receive_the_seed(pair: Pair) -> None:
    def factory(seed: int) -> Router:
        return RandomRouter(0.5, seed)

    traces = [pair.generate(QUESTION, router=factory, seed=seed, max_tokens=20) for seed in (1, 2)]
    assert [step.role for step in traces[0].steps] != [step.role for step in traces[1].steps]
    expected = pair.generate(QUESTION, router="random:0.5", seed=1, max_tokens=20)
    assert tokens(traces[0]) == tokens(expected)


def test_an_instance_with_state_serves_one_answer_at_a_time(pair: Pair) -> None:
    router = WindowRouter(4, 0.01)
    first = pair.ask(QUESTION, router=router, max_tokens=5)
    with pytest.raises(UsageError, match=r"serves another unfinished answer.*Pass the class or a factory"):
        pair.ask(QUESTIONS[1], router=router)
    first.finish()
    assert pair.ask(QUESTIONS[1], router=router, max_tokens=5).finish().stop == "length"
    # A run that is given up frees the router.
    run = pair.ask(QUESTION, router=router)
    del run
    assert pair.ask(QUESTION, router=router)
    stateless = FixedRouter(Role.SLM)
    assert pair.ask(QUESTION, router=stateless) is not pair.ask(QUESTION, router=stateless)


@pytest.mark.parametrize(("router", "message"), [("nonsense", "is not a router"), (3, "is not a router")])
def test_an_invalid_router_is_refused_before_anything_is_evaluated(pair: Pair, router: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pair.ask(QUESTION, router=router)


def test_registered_routers_are_specs(pair: Pair) -> None:
    register_router("api-test", lambda tau="0.02": EntropyRouter(float(tau)))
    try:
        trace = pair.generate(QUESTION, router="api-test:0.02")
        assert trace.settings["router"] == "api-test:0.02"
        assert tokens(trace) == tokens(pair.generate(QUESTION, router="entropy:0.02"))
    finally:
        unregister_router("api-test")


# Many answers


@pytest.fixture
def fresh() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(threads=1, context=512)) as loaded:
        yield loaded


def test_many_answers_come_in_the_order_of_the_questions(fresh: Pair) -> None:
    assert fresh.status.slots == 1
    traces = fresh.generate_many(iter(QUESTIONS), max_tokens=60)
    assert fresh.status.slots == len(QUESTIONS)
    assert fresh.options == LoadOptions(threads=1, context=512, sequences=len(QUESTIONS))
    for index, (trace, question) in enumerate(zip(traces, QUESTIONS, strict=True)):
        assert trace.seed == index
        alone = fresh.generate(question, max_tokens=60)
        # Batches change logits by rounding, so an answer may diverge; its first token does not on this pair.
        assert tokens(trace)[:1] == tokens(alone)[:1]
        assert trace.stop in ("eog", "length")
        assert trace.error is None
    assert len({trace.text for trace in traces}) == len(QUESTIONS)


def test_questions_and_messages_can_be_mixed(fresh: Pair) -> None:
    messages = fresh.conversation(QUESTIONS[1], "Be brief.")
    traces = fresh.generate_many([QUESTION, messages], max_tokens=5)
    assert [len(trace.steps) for trace in traces] == [5, 5]
    with pytest.raises(UsageError, match="system is given with messages"):
        fresh.generate_many([messages], system="Be brief.")
    assert fresh.generate_many([]) == []


def test_a_repeated_question_gets_different_samples(fresh: Pair) -> None:
    traces = fresh.generate_many([QUESTION] * 3, router="slm", temperature=3.0, seed=40, max_tokens=20)
    assert [trace.seed for trace in traces] == [40, 41, 42]
    assert len({trace.text for trace in traces}) == 3


def test_a_common_beginning_is_evaluated_once(fresh: Pair) -> None:
    system = "You solve small word problems, step by step. " * 3
    shared = fresh.generate_many(QUESTIONS, system=system, router="slm", max_tokens=3)
    separate = fresh.generate_many(QUESTIONS, system=system, router="slm", max_tokens=3, reuse=False)
    prompts = [fresh.render(fresh.conversation(question, system), Role.SLM) for question in QUESTIONS]
    common = next(i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1)
    assert common > 20
    evaluated = [sum(trace.spent(Role.SLM, "prompt")[0] for trace in traces) for traces in (shared, separate)]
    assert evaluated[1] == sum(map(len, prompts))
    assert evaluated[0] <= evaluated[1] - 5 * common


def test_a_question_that_fails_does_not_affect_the_others(fresh: Pair) -> None:
    traces = fresh.generate_many([QUESTION, TOO_LONG, QUESTIONS[1]], max_tokens=5)
    assert [trace.stop for trace in traces] == ["length", "error", "length"]
    assert [len(trace.steps) for trace in traces] == [5, 0, 5]
    assert str(traces[1].error).startswith("Prompt too long: The prompt has ")
    with pytest.raises(PromptTooLongError, match=r"LoadOptions\(context="):
        fresh.generate_many([TOO_LONG, TOO_LONG])


def test_broken_logits_of_one_question_do_not_affect_the_others(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    options = LoadOptions(threads=1, context=128, sequences=3)
    with load_pair(slm=files.slm, llm=files.llm, options=options) as loaded:
        traces = loaded.generate_many(["Hello", "Q?", "Hello"], router="random:0.5", max_tokens=8)
        assert [trace.stop for trace in traces] == ["length", "error", "length"]
        assert str(traces[1].error).startswith("Broken logits: SLM at position 0")
        assert loaded.status.slots == 3


def test_errors_of_all_questions_are_raised_at_the_first(fresh: Pair) -> None:
    for options in ({"router": "nonsense"}, {"max_tokens": 0}, {"temperature": -1.0}, {"stop": [""]}):
        with pytest.raises(UsageError):
            fresh.generate_many(QUESTIONS, **options)
    with pytest.raises(UsageError, match="serves another unfinished answer"):
        fresh.generate_many(QUESTIONS, router=WindowRouter(4, 0.01))
    with pytest.raises(EngineError, match="Router failed"):
        fresh.generate_many(QUESTIONS, router=lambda observation: observation.entropy > "x")


def test_a_failure_of_llama_cpp_does_not_affect_later_questions(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.add_sequences(2)
    decode, calls = llama_cpp.llama_decode, 0

    def fail_once(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return -3 if calls == 6 else int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", fail_once)
    traces = fresh.generate_many(QUESTIONS[:4], router="slm", max_tokens=20)
    assert [trace.stop for trace in traces] == ["error", "error", "length", "length"]
    assert "returned -3" in str(traces[0].error)


def test_should_stop_ends_all_answers(fresh: Pair) -> None:
    polls = iter([False] * 4)
    traces = fresh.generate_many([QUESTION] * 20, router="slm", should_stop=lambda: next(polls, True))
    assert len(traces) == 20
    assert {trace.stop for trace in traces} == {"interrupted"}


def test_progress_is_shown_on_stderr(fresh: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    fresh.generate_many(QUESTIONS[:3], max_tokens=5)
    assert capfd.readouterr() == ("", "")
    fresh.generate_many([*QUESTIONS[:2], TOO_LONG], max_tokens=5, progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "10 tokens" in shown.err


def test_a_pair_keeps_its_sequences_where_memory_does_not_suffice(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int | None] = []

    def refuse(weights: Any, defaults: Any, options: LoadOptions) -> Any:
        opened.append(options.sequences)
        if options.sequences != 1:
            raise ModelError("Not enough memory", "There is none.")
        return open_contexts(weights, defaults, options)

    monkeypatch.setattr(models, "open_contexts", refuse)
    traces = fresh.generate_many(QUESTIONS[:2], max_tokens=3)
    assert opened == [2, 1]
    assert [trace.stop for trace in traces] == ["length", "length"]
    assert (fresh.status.slots, fresh.options.sequences) == (1, 1)


def test_sequences_are_only_added_to_an_idle_pair(fresh: Pair) -> None:
    steps = iter(fresh.ask(QUESTION, max_tokens=5))
    next(steps)
    with pytest.raises(EngineError, match="busy"):
        fresh.generate_many(QUESTIONS)
    assert len(list(steps)) == 4
    early = fresh.ask(QUESTION, max_tokens=5)
    fresh.generate_many(QUESTIONS, max_tokens=1)
    # A run that was created before uses the new contexts.
    assert len(list(early)) == 5


def test_run_all_yields_steps_with_their_runs(fresh: Pair) -> None:
    fresh.add_sequences(3)
    runs = [fresh.ask(question, tag=index, max_tokens=4 + index) for index, question in enumerate(QUESTIONS[:4])]
    steps: dict[Any, list[Step]] = {run.tag: [] for run in runs}
    for run, step in fresh.run_all(iter(runs)):
        assert step is not None
        steps[run.tag].append(step)
    assert [len(found) for found in steps.values()] == [4, 5, 6, 7]
    assert [run.trace.steps for run in runs] == list(steps.values())
    assert list(fresh.run_all([])) == []


def test_run_all_ignores_the_callbacks_of_the_runs(fresh: Pair) -> None:
    runs = [fresh.ask(QUESTION, max_tokens=9, should_stop=lambda: pytest.fail("polled")) for _ in range(2)]
    for _ in fresh.run_all(runs, should_stop=lambda: len(runs[0].trace.steps) == 3):
        pass
    assert [run.trace.stop for run in runs] == ["interrupted", None]


# Asynchronous


async def collect(steps: AsyncGenerator[Step, None]) -> list[Step]:
    return [step async for step in steps]


def test_steps_can_be_streamed_asynchronously(pair: Pair) -> None:
    expected = pair.generate(QUESTION)
    found = asyncio.run(collect(pair.astream(QUESTION)))
    assert [(step.role, step.token) for step in found] == tokens(expected)
    options: dict[str, Any] = {"router": "slm", "temperature": 0.7, "seed": 3, "max_tokens": 9, "system": "Brief."}
    found = asyncio.run(collect(pair.astream(QUESTION, **options)))
    assert [(step.role, step.token) for step in found] == tokens(pair.generate(QUESTION, **options))
    resumed = asyncio.run(collect(pair.astream(QUESTION, resume_steps=expected.steps[:5])))
    assert [(step.role, step.token) for step in resumed] == tokens(expected)[5:]


def test_a_run_can_be_iterated_asynchronously(pair: Pair) -> None:
    run = pair.ask(QUESTION)
    asyncio.run(collect(aiter(run)))
    assert tokens(run.trace) == tokens(pair.generate(QUESTION))


def test_errors_reach_the_asynchronous_caller(pair: Pair) -> None:
    with pytest.raises(UsageError, match="is not a router"):
        asyncio.run(collect(pair.astream(QUESTION, router="nonsense")))
    with pytest.raises(EngineError, match="Invalid router result"):
        asyncio.run(collect(pair.astream(QUESTION, router=lambda _observation: None)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Prompt too long"):
        asyncio.run(collect(pair.astream(TOO_LONG)))


def test_the_event_loop_is_free_meanwhile(pair: Pair) -> None:
    async def other(done: asyncio.Event) -> int:
        turns = 0
        while not done.is_set():
            await asyncio.sleep(0)
            turns += 1
        return turns

    async def both() -> int:
        done = asyncio.Event()
        turns = asyncio.create_task(other(done))
        await collect(pair.astream(QUESTION))
        done.set()
        return await turns

    assert asyncio.run(both()) > 1


class HeldEvaluation:
    """Holds one evaluation of a pair until it is released, and counts all of them."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.count = 0
        self.reached = threading.Event()
        self.release = threading.Event()
        for context in pair.contexts.values():

            def decode(
                slices: Sequence[BatchSlice],
                *,
                hidden: bool = False,
                original: Callable[..., Decoded] = context.decode,
            ) -> Decoded:
                self.count += 1
                if self.count == at:
                    self.reached.set()
                    assert self.release.wait(60)
                return original(slices, hidden=hidden)

            monkeypatch.setattr(context, "decode", decode)


@pytest.mark.parametrize(("question", "at"), [(QUESTION, 10), (" ".join([QUESTION] * 10), 2)])
def test_cancelling_ends_the_answer_after_the_current_evaluation(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, question: str, at: int
) -> None:
    # The prompt of the second question takes more than two evaluations.
    held = HeldEvaluation(pair, monkeypatch, at)
    run = pair.ask(question, router="slm")

    async def cancel() -> None:
        task = asyncio.create_task(collect(aiter(run)))
        assert await asyncio.to_thread(held.reached.wait, 60)
        task.cancel()
        # The cancellation is delivered while the evaluation still runs.
        await asyncio.sleep(0)
        held.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert held.count == at
    assert run.trace.stop == "interrupted"
    pair.driver.require_idle()


def test_cancelling_a_stream_leaves_the_pair_idle(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldEvaluation(pair, monkeypatch, 5)

    async def cancel() -> None:
        task = asyncio.create_task(collect(pair.astream(QUESTION, router="slm")))
        assert await asyncio.to_thread(held.reached.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        held.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert held.count == 5
    assert len(pair.generate(QUESTION, max_tokens=3).steps) == 3


def test_leaving_the_loop_ends_the_answer(pair: Pair) -> None:
    run = pair.ask(QUESTION)

    async def leave() -> None:
        async with aclosing(aiter(run)) as steps:
            async for step in steps:
                if step.position == 2:
                    break

    asyncio.run(leave())
    assert (len(run.trace.steps), run.trace.stop) == (3, "interrupted")
    pair.driver.require_idle()


# Inspection


def test_positions_are_inspected_by_question_or_messages(pair: Pair) -> None:
    trace = pair.generate(QUESTION, router="llm")
    by_question = inspect_position(pair, QUESTION, trace.steps[:5], count=3)
    assert by_question == inspect_position(pair, pair.conversation(QUESTION), trace.steps[:5], count=3)
    assert by_question[Role.LLM].candidates[0].token == trace.steps[5].token
    assert [len(prediction.candidates) for prediction in by_question.values()] == [3, 3]
    every = list(inspect_all(pair, QUESTION, trace.steps[:6], count=1))
    assert len(every) == 6
    assert [each[Role.LLM].candidates[0].token for each in every] == [step.token for step in trace.steps[:6]]


# Loading


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gpu_layers", -1, "a number of layers"),
        ("gpu_layers", (1, 2, 3), "a pair of them"),
        ("gpu_layers", "all", "a pair of them"),
        ("gpu_layers", True, "a pair of them"),
        ("kv_type", "q5_1", "one of f16, q8_0, q4_0"),
        ("threads", 0, "an integer of at least 1"),
        ("threads", 1.5, "an integer of at least 1"),
        ("context", 0, "an integer of at least 1"),
        ("context", "4096", "an integer of at least 1"),
        ("sequences", 0, "an integer from 1 to 256"),
        ("sequences", 257, "an integer from 1 to 256"),
        ("kv_cells", -5, "an integer of at least 1"),
    ],
)
def test_invalid_load_options_are_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        LoadOptions(**{name: value})
    assert caught.value.title == "Invalid load options"
    assert f"{name} is {value!r}, must be" in caught.value.message
    assert expected in caught.value.message


def test_gpu_layers_are_for_both_models_or_each() -> None:
    assert [LoadOptions(gpu_layers=20).layers_of(role) for role in Role] == [20, 20]
    assert [LoadOptions(gpu_layers=(99, 20)).layers_of(role) for role in Role] == [99, 20]
    assert [LoadOptions().layers_of(role) for role in Role] == [None, None]


def test_load_options_show_what_differs_from_the_defaults() -> None:
    assert repr(LoadOptions()) == "LoadOptions()"
    assert repr(LoadOptions(gpu_layers=20, kv_type="q8_0")) == "LoadOptions(gpu_layers=20, kv_type='q8_0')"


def test_load_options_know_the_limits_of_llama_cpp() -> None:
    assert set(get_args(KvType)) == set(KV_TYPES)
    assert llama_cpp.llama_max_parallel_sequences() == MAX_SEQUENCES


def test_a_pair_is_loaded_with_a_number_of_gpu_layers(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def load(path: Path, *, gpu_layers: int, **options: Any) -> Weights:
        requested.append(gpu_layers)
        return Weights(path, gpu_layers=gpu_layers, **options)

    monkeypatch.setattr(loading, "Weights", load)
    for gpu_layers in (20, (9, 3)):
        with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(gpu_layers=gpu_layers)) as loaded:
            assert loaded.generate("Hi", max_tokens=2).stop == "length"
    assert requested == [20, 20, 9, 3]


def test_a_closed_pair_says_so() -> None:
    loaded = load_pair("demo", options=LoadOptions(threads=1, context=256))
    loaded.close()
    assert repr(loaded).endswith(", closed)")
    for use in (
        lambda: loaded.ask(QUESTION),
        lambda: loaded.generate(QUESTION),
        lambda: loaded.generate_many(QUESTIONS),
        lambda: list(loaded.run_all([])),
        lambda: asyncio.run(collect(loaded.astream(QUESTION))),
        lambda: inspect_position(loaded, QUESTION, []),
    ):
        with pytest.raises(EngineError, match=r"Pair is closed.*Load it again"):
            use()
