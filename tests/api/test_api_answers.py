"""The Python API: arguments of a single answer, and inspection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_samples import QUESTION, prompt_of, tokens
from tiny_pair import CHATML, write_pair

from rstitch_local import (
    Pair,
    Role,
    Run,
    Sampling,
    Step,
    UsageError,
    inspect_all,
    inspect_position,
    load_pair,
)


def test_a_run_streams_steps(demo: Pair) -> None:
    run = demo.ask(QUESTION)
    assert (run.text, run.error, run.tag, run.trace.stop) == ("", None, None, None)
    text = ""
    for step in run:
        assert isinstance(step, Step)
        text += step.text
        assert run.text == text
    assert run.trace.stop == "eog"
    assert run.trace.steps
    assert tokens(demo.ask(QUESTION).finish()) == tokens(run.trace)


def test_generate_takes_a_question_or_messages(demo: Pair) -> None:
    expected = demo.ask(QUESTION).finish()
    assert tokens(demo.generate(QUESTION)) == tokens(expected)
    assert tokens(demo.generate([{"role": "user", "content": QUESTION}])) == tokens(expected)
    assert tokens(demo.chat([{"role": "user", "content": QUESTION}]).finish()) == tokens(expected)


def test_a_system_message_comes_first(demo: Pair) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    assert demo.conversation(QUESTION, "Be brief.") == messages
    assert prompt_of(demo.ask(QUESTION, system="Be brief.")) == prompt_of(demo.chat(messages))
    with pytest.raises(UsageError, match="system is given with messages"):
        demo.generate(messages, system="Be brief.")


@pytest.mark.parametrize("wrong", [[], "What?"])
def test_chat_requires_messages(demo: Pair, wrong: Any) -> None:
    with pytest.raises(UsageError, match="must be a list of mappings"):
        demo.chat(wrong)


def test_ask_requires_a_string(demo: Pair) -> None:
    with pytest.raises(UsageError, match=r"type list.*Pass messages to `chat`"):
        demo.ask([{"role": "user", "content": QUESTION}])  # type: ignore[arg-type]


def test_single_sampling_values_replace_those_of_sampling(demo: Pair) -> None:
    def sampling(**options: Any) -> dict[str, Any]:
        return dict(demo.ask(QUESTION, **options).trace.settings["sampling"])

    assert sampling(sampling=Sampling(0.9, top_k=5)) == {"temperature": 0.9, "top_k": 5, "top_p": 1.0, "min_p": 0.0}
    assert sampling(sampling=Sampling(0.9, top_k=5), temperature=0.2, min_p=0.1)["top_k"] == 5
    assert sampling(sampling=Sampling(0.9), temperature=0.0)["temperature"] == 0.0
    changed = sampling(temperature=0.7, top_p=0.8, top_k=40, min_p=0.05)
    assert changed == {"temperature": 0.7, "top_k": 40, "top_p": 0.8, "min_p": 0.05}
    assert sampling()["temperature"] == demo.defaults.sampling.temperature
    with pytest.raises(UsageError, match=r"top_p is 1\.5"):
        sampling(top_p=1.5)


def test_the_seed_determines_the_answer(demo: Pair) -> None:
    options: dict[str, Any] = {"router": "slm", "temperature": 3.0, "max_tokens": 20}
    first, again, other = (demo.generate(QUESTION, seed=seed, **options) for seed in (1, 1, 2))
    assert tokens(first) == tokens(again) != tokens(other)
    assert first.seed == 1


def test_max_tokens_limits_the_answer(demo: Pair) -> None:
    trace = demo.generate(QUESTION, max_tokens=3)
    assert (len(trace.steps), trace.stop, trace.settings["max_tokens"]) == (3, "length", 3)
    for wrong in (0, -1):
        with pytest.raises(UsageError, match=rf"max_tokens is {wrong}, must be an integer of at least 1"):
            demo.ask(QUESTION, max_tokens=wrong)


def test_stop_strings_end_the_answer(demo: Pair) -> None:
    whole = demo.generate(QUESTION, router="llm")
    assert "stop" not in whole.settings
    cut = whole.text[10:13]
    for stop in (cut, [cut], ("never to be found", cut)):
        trace = demo.generate(QUESTION, router="llm", stop=stop)
        assert trace.text == whole.text[: whole.text.index(cut)]
        assert trace.stop == "stop"
        assert trace.settings["stop"] == ([cut] if isinstance(stop, str) else list(stop))
    with pytest.raises(UsageError, match="Invalid stop string"):
        demo.ask(QUESTION, stop=["a", ""])


def test_should_stop_interrupts(demo: Pair) -> None:
    run: Run = demo.ask(QUESTION, should_stop=lambda: len(run.trace.steps) == 4)
    assert len(list(run)) == 4
    assert run.trace.stop == "interrupted"
    never = demo.ask(QUESTION, should_stop=lambda: True)
    assert (never.finish().stop, never.trace.steps) == ("interrupted", [])


def test_thinking_is_passed_to_the_template(tmp_path: Path) -> None:
    template = CHATML + "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}"
    files = write_pair(tmp_path, {"template": template}, {"template": template})
    with load_pair(slm=files.slm, llm=files.llm) as loaded:
        default, on, off = (prompt_of(loaded.ask("Hi", thinking=thinking)) for thinking in (None, True, False))
        assert default == on
        assert len(off) < len(on)


def test_a_prefix_is_evaluated_and_not_part_of_the_answer(demo: Pair) -> None:
    run = demo.ask(QUESTION, prefix="Steps:\n")
    assert len(prompt_of(run)) > len(prompt_of(demo.ask(QUESTION)))
    assert not run.finish().text.startswith("Steps:")


def test_resumed_steps_are_part_of_the_answer(demo: Pair) -> None:
    whole = demo.generate(QUESTION, temperature=0.7)
    half = whole.steps[: len(whole.steps) // 2]
    for resumed in (
        demo.generate(QUESTION, temperature=0.7, resume_steps=half),
        demo.ask(QUESTION, temperature=0.7, resume_steps=half).finish(),
    ):
        assert tokens(resumed) == tokens(whole)
        assert resumed.resumed_tokens == len(half)


def test_reuse_evaluates_only_what_is_new(demo: Pair) -> None:
    first = demo.generate(QUESTION, router="slm")
    again = demo.generate(QUESTION, router="slm", reuse=True)
    assert tokens(first) == tokens(again)
    assert first.spent(Role.SLM, "prompt")[0] == len(demo.render(demo.conversation(QUESTION), Role.SLM))
    assert again.spent(Role.SLM, "prompt")[0] == 1


def test_positions_are_inspected_by_question_or_messages(demo: Pair) -> None:
    trace = demo.generate(QUESTION, router="llm")
    by_question = inspect_position(demo, QUESTION, trace.steps[:5], count=3)
    assert by_question == inspect_position(demo, demo.conversation(QUESTION), trace.steps[:5], count=3)
    assert by_question[Role.LLM].candidates[0].token == trace.steps[5].token
    assert [len(prediction.candidates) for prediction in by_question.values()] == [3, 3]
    every = list(inspect_all(demo, QUESTION, trace.steps[:6], count=1))
    assert len(every) == 6
    assert [each[Role.LLM].candidates[0].token for each in every] == [step.token for step in trace.steps[:6]]
