"""Pair with two tiny models: loading, answers, traces, and errors."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from tiny_pair import CHATML, END, SPECIALS, START, THINK, TinyPair, ordinary_tokens, write_pair

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.engine.contexts import open_contexts
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import CancelledError, EngineError, InputError, ModelError, UsageError
from rstitch_local.trace.record import Trace

QUESTION = "What is the inner thing?"
ROUTERS = ["slm", "llm", "entropy:0.2", "confidence:0.5", "random:0.4"]


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as loaded:
        yield loaded


def open_pair(files: TinyPair, **options: Any) -> Pair:
    return load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(**options))


def tokens(trace: Trace) -> list[int]:
    return [step.token for step in trace.steps]


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is freed, in order."""
    found: list[str] = []
    for name in ("llama_model_free", "llama_free"):
        original = getattr(llama_cpp, name)

        def free(handle: Any, name: str = name, original: Any = original) -> None:
            found.append(name)
            original(handle)

        monkeypatch.setattr(llama_cpp, name, free)
    return found


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_numbers_of_a_trace_are_consistent(pair: Pair, router: str, temperature: float) -> None:
    run = pair.ask(QUESTION, router=router, sampling=Sampling(temperature), seed=3, max_tokens=50)
    kept: list[Step] = []
    for step in run:
        assert step.position == len(kept)
        kept.append(step)
    trace = run.trace
    assert trace.steps == kept
    assert len(kept) == 50
    assert trace.stop == "length"
    assert trace.text == "".join(step.text for step in kept)
    assert trace.tokens == {role: sum(step.role is role for step in kept) for role in Role}
    assert sum(trace.tokens.values()) == len(kept)
    assert 0 <= trace.swaps_up - trace.swaps_down <= 1
    evaluated = {role: sum(trace.usage[role].tokens) for role in Role}
    prompt = {role: len(pair.render([{"role": "user", "content": QUESTION}], role)) for role in Role}
    for role in Role:
        assert evaluated[role] == run.trajectory.cached(role) == pair.contexts[role].length()
        assert evaluated[role] <= prompt[role] + len(kept)
        assert trace.usage[role].tokens[0] in (0, prompt[role])
        assert [ns > 0 for ns in trace.usage[role].ns] == [count > 0 for count in trace.usage[role].tokens]
    assert sum(step.evaluated_tokens for step in kept) == sum(evaluated.values())
    assert sum(step.ms for step in kept) == pytest.approx(trace.model_ms)
    assert 0 < trace.model_ms <= trace.wall_ms
    assert trace.ttft_ms is not None
    assert kept[0].ms <= trace.ttft_ms <= trace.wall_ms
    assert trace.settings == {
        "pair": "slm.gguf + llm.gguf",
        "router": router,
        "sampling": {"temperature": temperature, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        "max_tokens": 50,
        "vocabulary": {role.value: pair.weights[role].n_vocab for role in Role},
    }
    assert Trace.from_dict(trace.to_dict()).to_dict() == trace.to_dict()


@pytest.mark.parametrize("role", Role)
def test_one_model_alone_never_evaluates_the_other(pair: Pair, role: Role) -> None:
    trace = pair.ask(QUESTION, router=role.value, max_tokens=30).finish()
    other = Role.LLM if role is Role.SLM else Role.SLM
    assert trace.tokens[role] == 30
    assert trace.usage[other].tokens == [0, 0, 0]
    assert pair.contexts[other].length() == 0
    assert {step.role for step in trace.steps} == {role}


@pytest.mark.parametrize(("tau", "role"), [("1", Role.SLM), ("1.5", Role.SLM), ("-1", Role.LLM), ("-0.01", Role.LLM)])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_an_extreme_tau_uses_one_model_only(pair: Pair, tau: str, role: Role, temperature: float) -> None:
    sampling = Sampling(temperature)
    swapped = pair.ask(QUESTION, router=f"entropy:{tau}", sampling=sampling, max_tokens=40).finish()
    single = pair.ask(QUESTION, router=role.value, sampling=sampling, max_tokens=40).finish()
    assert tokens(swapped) == tokens(single)
    assert swapped.tokens == single.tokens
    assert (swapped.swaps_up, swapped.swaps_down) == (int(role is Role.LLM), 0)


def test_a_medium_tau_uses_both_models(pair: Pair) -> None:
    trace = pair.ask(QUESTION, router="entropy:0.25", max_tokens=60).finish()
    assert min(trace.tokens.values()) > 5
    assert trace.swaps_up > 2
    for before, step in zip(trace.steps, trace.steps[1:], strict=False):
        if before.role is Role.LLM:
            # Algorithm 1: the LLM keeps control while its entropy is above tau, and the SLM keeps no token above tau.
            assert step.role is Role.LLM or before.entropy <= 0.25
        if step.role is Role.SLM:
            assert step.entropy <= 0.25


def test_the_seed_determines_the_answer(pair: Pair) -> None:
    first, again, other = (
        tokens(pair.ask(QUESTION, router="slm", sampling=Sampling(1.0), seed=seed, max_tokens=30).finish())
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_runs_can_be_created_before_others_are_iterated(pair: Pair) -> None:
    expected = [tokens(pair.ask(text, max_tokens=20).finish()) for text in ("One", "Two and more")]
    runs = [pair.ask(text, max_tokens=20) for text in ("One", "Two and more")]
    assert [tokens(run.finish()) for run in runs] == expected


def test_answers_use_the_defaults_of_the_pair(tiny_pair: TinyPair, pair: Pair) -> None:
    defaults = PairDefaults(context=128, tau=0.25, sampling=Sampling(0.5), prompt_suffix="Think for 9 tokens.")
    with open_pair(tiny_pair) as other:
        contexts = open_contexts(other.weights, defaults, LoadOptions())
        own = Pair("own", other.weights, contexts, other.bridge, other.renderer.templates, defaults)
        trace = own.ask("Why?", max_tokens=5).finish()
        assert trace.settings["router"] == "entropy:0.25"
        assert trace.settings["sampling"]["temperature"] == 0.5
        assert own.contexts[Role.LLM].n_ctx == 128
        explicit = pair.ask(
            "Why?\nThink for 9 tokens.", router="entropy:0.25", sampling=Sampling(0.5), max_tokens=5
        ).finish()
        assert tokens(trace) == tokens(explicit)
        for context in own.contexts.values():
            context.close()


def test_a_system_prompt_comes_first(pair: Pair) -> None:
    with_system = pair.ask("Hi", system="Be brief.").trajectory.ids(Role.SLM)
    text = b"".join(pair.weights[Role.SLM].piece(token) for token in with_system)
    assert text == b"system\nBe brief.\nuser\nHi\nassistant\n"
    assert pair.ask("Hi", system="").trajectory.ids(Role.SLM) == pair.ask("Hi").trajectory.ids(Role.SLM)


@pytest.mark.parametrize("limit", [1, 7])
def test_max_tokens_counts_kept_tokens(pair: Pair, limit: int) -> None:
    trace = pair.ask(QUESTION, max_tokens=limit).finish()
    assert len(trace.steps) == limit
    assert trace.stop == "length"


@pytest.mark.parametrize("router", ["slm", "llm", "entropy:0.25"])
def test_an_answer_can_fill_the_context(tiny_pair: TinyPair, router: str) -> None:
    with open_pair(tiny_pair, context=64) as pair:
        prompt = len(pair.render([{"role": "user", "content": QUESTION}], Role.SLM))
        trace = pair.ask(QUESTION, router=router).finish()
        assert trace.stop == "length"
        # The last token needs no cell: it is never evaluated.
        assert len(trace.steps) == 64 - prompt + 1
        assert max(context.length() for context in pair.contexts.values()) == 64


def test_a_prompt_can_fill_the_context_but_not_exceed_it(tiny_pair: TinyPair) -> None:
    with open_pair(tiny_pair, context=64) as pair:
        fixed = len(pair.render([{"role": "user", "content": ""}], Role.SLM))
        trace = pair.ask("x" * (64 - fixed)).finish()
        assert (len(trace.steps), trace.stop) == (1, "length")
        with pytest.raises(InputError) as caught:
            pair.ask("x" * (65 - fixed))
    assert caught.value.title == "Prompt too long"
    assert "65 tokens" in caught.value.message
    assert "holds 64" in caught.value.message
    assert "--context" in caught.value.hint


def test_the_context_is_limited_to_the_training_context(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"context_length": 48}, {"context_length": 512})
    with open_pair(files) as pair:
        assert [pair.contexts[role].n_ctx for role in Role] == [48, 512]
        with pytest.raises(InputError, match="the SLM's context holds 48"):
            pair.ask("x" * 60)
        assert len(pair.ask("x", router="entropy:0.2").finish().steps) <= 48


def test_should_stop_ends_the_answer_and_keeps_it(pair: Pair) -> None:
    run: Run = pair.ask(QUESTION, should_stop=lambda: len(run.trace.steps) == 4)
    assert len(list(run)) == 4 == len(run.trace.steps)
    assert run.trace.stop == "interrupted"
    assert run.trace.text


def test_leaving_the_loop_interrupts_a_run(pair: Pair) -> None:
    run = pair.ask(QUESTION)
    for step in run:
        if step.position == 2:
            break
    gc.collect()
    assert run.trace.stop == "interrupted"
    assert len(run.trace.steps) == 3
    steps = iter(run := pair.ask(QUESTION))
    next(steps)
    steps.close()
    assert run.trace.stop == "interrupted"


def test_a_model_can_end_its_turn(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"answer": "Yes, \\bo{42}\u20ac!"}, {"answer": "No"})
    with open_pair(files) as pair:
        for router, text in (("slm", "Yes, \\bo{42}\u20ac!"), ("llm", "No")):
            trace = pair.ask(QUESTION, router=router).finish()
            assert trace.stop == "eog"
            assert trace.text == text
            assert trace.steps[-1].text == ""


@pytest.mark.parametrize("role", Role)
def test_nan_logits_name_model_and_position(tmp_path: Path, role: Role) -> None:
    files = write_pair(tmp_path, **{role.value: {"answer": "abcde", "nan_after": "c"}})
    with open_pair(files) as pair:
        run = pair.ask("Hi", router=role.value)
        kept: list[Step] = []
        with pytest.raises(EngineError) as caught:
            kept.extend(run)
        assert caught.value.title == "Broken logits"
        assert f"{role.name} at position 3" in caught.value.message
        assert run.trace.stop == "error"
        assert run.trace.text == "abc"
        assert run.trace.tokens[role] == 3


def test_special_tokens_with_other_ids_are_converted(tmp_path: Path) -> None:
    likely_specials = {"special_spread": 30.0}
    files = write_pair(
        tmp_path, {**likely_specials, "specials": SPECIALS[::-1]}, {**likely_specials, "specials": SPECIALS}
    )
    with open_pair(files) as pair:
        run = pair.ask(QUESTION, router="random:0.5", max_tokens=200, sampling=Sampling(0.3))
        trace = run.finish()
        texts = {role: pair.weights[role].token_texts() for role in Role}
        slm, llm = ([texts[role][token] for token in run.trajectory.ids(role)] for role in Role)
        assert slm == llm
        assert run.trajectory.ids(Role.SLM) != run.trajectory.ids(Role.LLM)
        generated = {step.role for step in trace.steps if step.token >= len(ordinary_tokens())}
        assert generated == set(Role)
        assert THINK in trace.text


@pytest.mark.parametrize("role", Role)
def test_a_special_token_of_one_model_only_is_passed_as_text(tmp_path: Path, role: Role) -> None:
    files = write_pair(tmp_path, **{role.value: {"specials": (*SPECIALS, "<tool>")}})
    with open_pair(files) as pair:
        for seed in range(20):
            run = pair.ask(QUESTION, router=role.value, max_tokens=200, sampling=Sampling(100.0), seed=seed)
            if "<tool>" in run.finish().text:
                break
        assert "<tool>" in run.trace.text
        other = Role.LLM if role is Role.SLM else Role.SLM
        read = b"".join(pair.weights[other].piece(token) for token in run.trajectory.ids(other))
        assert b"<tool>" in read


@pytest.mark.parametrize("role", Role)
def test_a_model_without_a_template_is_refused(tmp_path: Path, role: Role, freed: list[str]) -> None:
    files = write_pair(tmp_path, **{role.value: {"template": None}})
    with pytest.raises(ModelError) as caught:
        open_pair(files)
    assert caught.value.title == "No chat template"
    assert f"{role.value}.gguf" in caught.value.message
    assert freed == ["llama_model_free"] * 2


def test_a_conversation_that_a_template_rejects_is_an_input_error(tmp_path: Path) -> None:
    picky = "{% if messages | length > 1 %}{{ raise_exception('One question only') }}{% endif %}" + CHATML
    turns = [{"role": role, "content": "Hi"} for role in ("user", "assistant", "user")]
    with open_pair(write_pair(tmp_path, {}, {"template": picky})) as pair:
        with pytest.raises(InputError, match=r"llm\.gguf: One question only"):
            pair.chat(turns)
        assert pair.ask("Hi", max_tokens=3).finish().stop == "length"


def test_the_bos_token_is_added_once(tmp_path: Path) -> None:
    printed = "{{ bos_token }}" + CHATML
    for template in (CHATML, printed):
        files = write_pair(tmp_path, {"bos": END, "template": template}, {})
        with open_pair(files) as pair:
            ids = pair.render([{"role": "user", "content": "Hi"}], Role.SLM)
            marks = [pair.weights[Role.SLM].tokenize(text, parse_special=True)[0] for text in (END, START)]
            assert ids[:2] == marks
            assert pair.render([{"role": "user", "content": "Hi"}], Role.LLM)[0] == marks[1]


def test_everything_is_freed_if_a_context_cannot_be_created(
    tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch, freed: list[str]
) -> None:
    make, calls = llama_cpp.llama_init_from_model, 0

    def second_fails(model: Any, params: Any) -> Any:
        nonlocal calls
        calls += 1
        return make(model, params) if calls == 1 else None

    monkeypatch.setattr(llama_cpp, "llama_init_from_model", second_fails)
    with pytest.raises(ModelError, match=r"llm\.gguf"):
        open_pair(tiny_pair)
    assert freed == ["llama_free", "llama_model_free", "llama_model_free"]


def test_a_closed_pair_raises_instead_of_crashing(tiny_pair: TinyPair, freed: list[str]) -> None:
    with open_pair(tiny_pair) as pair:
        early = pair.ask("Hi")
        half = pair.ask("Hi")
        steps = iter(half)
        next(steps)
    pair.close()
    assert freed == ["llama_free"] * 2 + ["llama_model_free"] * 2
    with pytest.raises(EngineError, match="Load it again"):
        pair.ask("Hi")
    for unfinished in (steps, iter(early)):
        with pytest.raises(EngineError, match="freed"):
            next(unfinished)
    assert early.trace.stop == half.trace.stop == "error"
    assert len(half.trace.steps) == 1


def test_loading_reports_progress_of_each_model(tiny_pair: TinyPair) -> None:
    reported: list[tuple[Role, float]] = []

    def note(role: Role, share: float) -> bool:
        reported.append((role, share))
        return True

    load_pair(slm=str(tiny_pair.slm), llm=str(tiny_pair.llm), progress=note).close()
    assert reported == sorted(reported, key=lambda item: (item[0] is Role.LLM, item[1]))
    assert {share for _, share in reported[-1:]} == {1.0}
    assert {role for role, _ in reported} == set(Role)


def test_loading_can_be_cancelled_at_the_second_model(tiny_pair: TinyPair, freed: list[str]) -> None:
    with pytest.raises(CancelledError):
        load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, progress=lambda role, _share: role is Role.SLM)
    assert freed.count("llama_model_free") >= 1
    assert "llama_free" not in freed


def test_one_file_is_not_a_pair(tiny_pair: TinyPair) -> None:
    with pytest.raises(UsageError, match="Invalid pair selection"):
        load_pair(slm=tiny_pair.slm)
    with pytest.raises(UsageError, match="Invalid pair selection"):
        load_pair("qwen2.5-coder", llm=tiny_pair.llm)


def test_a_missing_file_is_found_before_the_other_is_loaded(tiny_pair: TinyPair, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_pair(slm=tiny_pair.slm, llm=tmp_path / "none.gguf", progress=lambda *_: pytest.fail("loaded"))


def test_an_unknown_router_is_refused_before_iteration(pair: Pair) -> None:
    with pytest.raises(UsageError, match="is not a router"):
        pair.ask(QUESTION, router="nonsense")


def test_describe_contains_what_was_loaded(tiny_pair: TinyPair) -> None:
    with open_pair(tiny_pair, context=96, threads=2, kv_type="q8_0") as pair:
        header = pair.describe()
    assert header["pair"] == "slm.gguf + llm.gguf"
    for role, path in ((Role.SLM, tiny_pair.slm), (Role.LLM, tiny_pair.llm)):
        model = header[role.value]
        assert model["file"] == path.name
        assert model["bytes"] == path.stat().st_size
        assert (model["context"], model["threads"], model["kv_type"]) == (96, 2, "q8_0")
    assert header["binding"].startswith("llama-cpp-python")


def test_a_name_and_two_files_are_refused(tiny_pair: TinyPair) -> None:
    with pytest.raises(UsageError, match="Invalid pair selection"):
        load_pair("mine", slm=tiny_pair.slm, llm=tiny_pair.llm)


def test_max_tokens_below_one_is_refused(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair, pytest.raises(UsageError, match="max_tokens is 0"):
        pair.ask("Hi", max_tokens=0)


def test_two_answers_cannot_be_iterated_concurrently(tiny_pair: TinyPair) -> None:
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair:
        first = iter(pair.ask("Hi", router="slm", max_tokens=5))
        next(first)
        with pytest.raises(EngineError, match="busy"):
            next(iter(pair.ask("Ho", router="slm", max_tokens=5)))
        first.close()
        assert len(list(pair.ask("Ho", router="slm", max_tokens=5))) >= 1


def test_a_context_that_does_not_fit_into_memory_is_refused(tiny_pair: TinyPair) -> None:
    for context in (1 << 30, 1 << 40):
        with pytest.raises(ModelError, match="The KV caches need"):
            load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(context=context, sequences=1 << 8))
