"""The Python API: many answers at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from api_samples import QUESTION, QUESTIONS, TOO_LONG, tokens
from tiny_pair import write_pair

from rstitch_local import (
    EngineError,
    LoadOptions,
    ModelError,
    Pair,
    PromptTooLongError,
    Role,
    Step,
    UsageError,
    WindowRouter,
    load_pair,
)
from rstitch_local.engine import models
from rstitch_local.engine.contexts import open_contexts


def test_many_answers_come_in_the_order_of_the_questions(fresh_demo: Pair) -> None:
    assert fresh_demo.status.slots == 1
    traces = fresh_demo.generate_many(iter(QUESTIONS), max_tokens=60)
    assert fresh_demo.status.slots == len(QUESTIONS)
    assert fresh_demo.options == LoadOptions(threads=1, context=512, sequences=len(QUESTIONS))
    for index, (trace, question) in enumerate(zip(traces, QUESTIONS, strict=True)):
        assert trace.seed == index
        alone = fresh_demo.generate(question, max_tokens=60)
        # Batches change logits by rounding, so an answer may diverge; its first token does not on this pair.
        assert tokens(trace)[:1] == tokens(alone)[:1]
        assert trace.stop in ("eog", "length")
        assert trace.error is None
    assert len({trace.text for trace in traces}) == len(QUESTIONS)


def test_questions_and_messages_can_be_mixed(fresh_demo: Pair) -> None:
    messages = fresh_demo.conversation(QUESTIONS[1], "Be brief.")
    traces = fresh_demo.generate_many([QUESTION, messages], max_tokens=5)
    assert [len(trace.steps) for trace in traces] == [5, 5]
    with pytest.raises(UsageError, match="system is given with messages"):
        fresh_demo.generate_many([messages], system="Be brief.")
    assert fresh_demo.generate_many([]) == []


def test_a_repeated_question_gets_different_samples(fresh_demo: Pair) -> None:
    traces = fresh_demo.generate_many([QUESTION] * 3, router="slm", temperature=3.0, seed=40, max_tokens=20)
    assert [trace.seed for trace in traces] == [40, 41, 42]
    assert len({trace.text for trace in traces}) == 3


def test_a_common_beginning_is_evaluated_once(fresh_demo: Pair) -> None:
    system = "You solve small word problems, step by step. " * 3
    shared = fresh_demo.generate_many(QUESTIONS, system=system, router="slm", max_tokens=3)
    separate = fresh_demo.generate_many(QUESTIONS, system=system, router="slm", max_tokens=3, reuse=False)
    prompts = [fresh_demo.render(fresh_demo.conversation(question, system), Role.SLM) for question in QUESTIONS]
    common = next(i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1)
    assert common > 20
    evaluated = [sum(trace.spent(Role.SLM, "prompt")[0] for trace in traces) for traces in (shared, separate)]
    assert evaluated[1] == sum(map(len, prompts))
    assert evaluated[0] <= evaluated[1] - 5 * common


def test_a_question_that_fails_does_not_affect_the_others(fresh_demo: Pair) -> None:
    traces = fresh_demo.generate_many([QUESTION, TOO_LONG, QUESTIONS[1]], max_tokens=5)
    assert [trace.stop for trace in traces] == ["length", "error", "length"]
    assert [len(trace.steps) for trace in traces] == [5, 0, 5]
    assert str(traces[1].error).startswith("Prompt too long: The prompt has ")
    with pytest.raises(PromptTooLongError, match=r"LoadOptions\(context="):
        fresh_demo.generate_many([TOO_LONG, TOO_LONG])


def test_broken_logits_of_one_question_do_not_affect_the_others(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"nan_after": "Q"}, {"nan_after": "Q"})
    options = LoadOptions(threads=1, context=128, sequences=3)
    with load_pair(slm=files.slm, llm=files.llm, options=options) as loaded:
        traces = loaded.generate_many(["Hello", "Q?", "Hello"], router="random:0.5", max_tokens=8)
        assert [trace.stop for trace in traces] == ["length", "error", "length"]
        assert str(traces[1].error).startswith("Broken logits: SLM at position 0")
        assert loaded.status.slots == 3


def test_errors_of_all_questions_are_raised_at_the_first(fresh_demo: Pair) -> None:
    for options in ({"router": "nonsense"}, {"max_tokens": 0}, {"temperature": -1.0}, {"stop": [""]}):
        with pytest.raises(UsageError):
            fresh_demo.generate_many(QUESTIONS, **options)
    with pytest.raises(UsageError, match="serves another unfinished answer"):
        fresh_demo.generate_many(QUESTIONS, router=WindowRouter(4, 0.01))
    with pytest.raises(EngineError, match="Router failed"):
        fresh_demo.generate_many(QUESTIONS, router=lambda observation: observation.entropy > "x")


def test_a_failure_of_llama_cpp_does_not_affect_later_questions(
    fresh_demo: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_demo.add_sequences(2)
    decode, calls = llama_cpp.llama_decode, 0

    def fail_once(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        return -3 if calls == 6 else int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", fail_once)
    traces = fresh_demo.generate_many(QUESTIONS[:4], router="slm", max_tokens=20)
    assert [trace.stop for trace in traces] == ["error", "error", "length", "length"]
    assert "returned -3" in str(traces[0].error)


def test_should_stop_ends_all_answers(fresh_demo: Pair) -> None:
    polls = iter([False] * 4)
    traces = fresh_demo.generate_many([QUESTION] * 20, router="slm", should_stop=lambda: next(polls, True))
    assert len(traces) == 20
    assert {trace.stop for trace in traces} == {"interrupted"}


def test_progress_is_shown_on_stderr(fresh_demo: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    fresh_demo.generate_many(QUESTIONS[:3], max_tokens=5)
    assert capfd.readouterr() == ("", "")
    fresh_demo.generate_many([*QUESTIONS[:2], TOO_LONG], max_tokens=5, progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "10 tokens" in shown.err


def test_a_pair_keeps_its_sequences_where_memory_does_not_suffice(
    fresh_demo: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int | None] = []

    def refuse(weights: Any, defaults: Any, options: LoadOptions) -> Any:
        opened.append(options.sequences)
        if options.sequences != 1:
            raise ModelError("Not enough memory", "There is none.")
        return open_contexts(weights, defaults, options)

    monkeypatch.setattr(models, "open_contexts", refuse)
    traces = fresh_demo.generate_many(QUESTIONS[:2], max_tokens=3)
    assert opened == [2, 1]
    assert [trace.stop for trace in traces] == ["length", "length"]
    assert (fresh_demo.status.slots, fresh_demo.options.sequences) == (1, 1)


def test_sequences_are_only_added_to_an_idle_pair(fresh_demo: Pair) -> None:
    steps = iter(fresh_demo.ask(QUESTION, max_tokens=5))
    next(steps)
    with pytest.raises(EngineError, match="busy"):
        fresh_demo.generate_many(QUESTIONS)
    assert len(list(steps)) == 4
    early = fresh_demo.ask(QUESTION, max_tokens=5)
    fresh_demo.generate_many(QUESTIONS, max_tokens=1)
    # A run that was created before uses the new contexts.
    assert len(list(early)) == 5


def test_run_all_yields_steps_with_their_runs(fresh_demo: Pair) -> None:
    fresh_demo.add_sequences(3)
    runs = [fresh_demo.ask(question, tag=index, max_tokens=4 + index) for index, question in enumerate(QUESTIONS[:4])]
    steps: dict[Any, list[Step]] = {run.tag: [] for run in runs}
    for run, step in fresh_demo.run_all(iter(runs)):
        assert step is not None
        steps[run.tag].append(step)
    assert [len(found) for found in steps.values()] == [4, 5, 6, 7]
    assert [run.trace.steps for run in runs] == list(steps.values())
    assert list(fresh_demo.run_all([])) == []


def test_run_all_ignores_the_callbacks_of_the_runs(fresh_demo: Pair) -> None:
    runs = [fresh_demo.ask(QUESTION, max_tokens=9, should_stop=lambda: pytest.fail("polled")) for _ in range(2)]
    for _ in fresh_demo.run_all(runs, should_stop=lambda: len(runs[0].trace.steps) == 3):
        pass
    assert [run.trace.stop for run in runs] == ["interrupted", None]
