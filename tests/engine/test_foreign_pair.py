"""Pairs with different tokenizers, special tokens and sizes: loading, answers and resuming with real models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retokenized import write_retokenized
from tiny_pair import (
    CHATML,
    SPECIALS,
    TinyPair,
    byte_letters,
    ordinary_tokens,
    write_model,
    write_pair,
    write_recurrent_model,
)

from rstitch_local import builtin
from rstitch_local.builtin import word_problems
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.inspection import inspect_position
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import ModelError
from rstitch_local.routing.rules import HysteresisRouter
from rstitch_local.trace.record import Trace

QUESTION = "What is the inner thing, then?"
OTHER_MERGES = ("h e", "n g", "i s", "t h", "th i", "thi n", "thin g")
THREAD = LoadOptions(threads=1)


def question(index: int) -> str:
    return word_problems.generate(word_problems.EVALUATION_SEED, index).question


@pytest.fixture(scope="module")
def demo() -> Iterator[Pair]:
    with load_pair("demo", options=THREAD) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The demo pair, with the token ids of its LLM permuted."""
    llm = write_retokenized(builtin.LLM_FILE, tmp_path_factory.mktemp("shuffled") / "llm.gguf")
    with load_pair(slm=builtin.SLM_FILE, llm=llm, options=LoadOptions(threads=1, context=1024)) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Two random models with different merges and ids."""
    other = [*byte_letters()[::-1], *(merge.replace(" ", "") for merge in OTHER_MERGES)]
    return write_pair(
        tmp_path_factory.mktemp("foreign"), {"tokens": other, "merges": OTHER_MERGES, "specials": SPECIALS[::-1]}
    )


@pytest.fixture(scope="module")
def foreign(files: TinyPair) -> Iterator[Pair]:
    with load_pair(slm=files.slm, llm=files.llm) as loaded:
        yield loaded


def summary(trace: Trace) -> list[tuple[Role, int, str, float | None]]:
    return [(step.role, step.token, step.text, step.swap_entropy) for step in trace.steps]


def answer_of(pair: Pair, run: Run, role: Role, text: str) -> str:
    """Return the answer as text, by one model's token ids."""
    vocabulary = pair.bridge.vocabularies[role]
    prompt = len(pair.render([{"role": "user", "content": text}], role))
    return b"".join(map(vocabulary.piece, run.trajectory.ids(role)[prompt:])).decode("utf-8", "replace")


@pytest.mark.parametrize("router", ["entropy:0.005", "entropy:0.001", "one:0.003", "window:4:0.003", "llm"])
def test_permuted_ids_do_not_change_the_answer(demo: Pair, shuffled: Pair, router: str) -> None:
    assert isinstance(shuffled.bridge, ForeignBridge)
    swaps = 0
    for index in range(3):
        own, other = (
            pair.ask(question(index), router=router, sampling=Sampling(), max_tokens=400) for pair in (demo, shuffled)
        )
        shared, text = own.finish(), other.finish()
        assert text.text == shared.text
        assert [step.role for step in text.steps] == [step.role for step in shared.steps]
        assert (text.swaps_up, text.swaps_down, text.stop) == (shared.swaps_up, shared.swaps_down, "eog")
        # The same tokens with other ids: re-tokenizing evaluates the same number.
        for role in Role:
            assert text.usage[role].tokens == shared.usage[role].tokens
        swaps += text.swaps_up
    assert (swaps > 0) == (router != "llm")


@pytest.mark.parametrize("router", ["entropy:0.25", "random:0.3", "one:0.2", "hysteresis:0.3:0.2"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_numbers_of_a_trace_are_consistent(foreign: Pair, router: str, temperature: float) -> None:
    run = foreign.ask(QUESTION, router=router, sampling=Sampling(temperature), seed=5, max_tokens=60)
    trace = run.finish()
    assert min(trace.tokens.values()) > 2
    assert trace.swaps_up > 1
    assert trace.text == "".join(step.text for step in trace.steps)
    # Tokens replaced by a longer one were evaluated too.
    evaluated = {role: sum(trace.usage[role].tokens) for role in Role}
    assert sum(step.evaluated_tokens for step in trace.steps) == sum(evaluated.values())
    for role in Role:
        cached = run.trajectory.cached(role)
        assert evaluated[role] >= cached == foreign.contexts[role].length()
        assert list(foreign.contexts[role].tokens(0)) == list(run.trajectory.ids(role)[:cached])
        assert answer_of(foreign, run, role, QUESTION) == trace.text


def test_a_longer_token_can_be_generated_refused_or_passed_to_the_llm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SLM has a token for any two letters, so every letter of the other model may be the start of one.
    merges = [f"{a} {b}" for a in ascii_lowercase for b in ascii_lowercase]
    texts = [*byte_letters(), *(merge.replace(" ", "") for merge in merges)]
    files = write_pair(tmp_path, {"tokens": texts, "merges": merges})
    outcomes: Counter[str] = Counter()
    reconsider = ForeignTrajectory._reconsider

    def noting(self: ForeignTrajectory, place: int, logits: NDArray[np.float32]) -> Step | None:
        role = self.active
        step = reconsider(self, place, logits)
        outcomes["generated" if step is not None else "refused" if self.active is role else "passed"] += 1
        return step

    monkeypatch.setattr(ForeignTrajectory, "_reconsider", noting)
    with load_pair(slm=files.slm, llm=files.llm) as pair:
        for seed in range(12):
            text = f"{seed} {QUESTION}"
            # The SLM passes control at a low entropy, and gets it back soon.
            run = pair.ask(text, router=HysteresisRouter(0.05, 0.3), sampling=Sampling(1.0), seed=seed, max_tokens=60)
            trace = run.finish()
            for role in Role:
                assert answer_of(pair, run, role, text) == trace.text
                assert pair.contexts[role].length() == run.trajectory.cached(role)
    assert min(outcomes[each] for each in ("generated", "refused", "passed")) > 0, outcomes


def test_concurrent_answers_equal_single_ones(files: TinyPair, foreign: Pair) -> None:
    questions = [f"{QUESTION} {index}" for index in range(7)]
    alone = [foreign.ask(text, router="entropy:0.25", max_tokens=40).finish().text for text in questions]
    with load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(sequences=3)) as pair:
        runs = [pair.ask(text, router="entropy:0.25", max_tokens=40) for text in questions]
        for _ in pair.run_all(iter(runs)):
            pass
        for run, text in zip(runs, questions, strict=True):
            assert run.error is None
            for role in Role:
                assert answer_of(pair, run, role, text) == run.trace.text
    # Batches round entropies differently, so a swap may move; in most answers it does not.
    assert sum(run.trace.text == text for run, text in zip(runs, alone, strict=True)) >= 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_can_be_resumed_from_any_step(foreign: Pair, temperature: float) -> None:
    options: dict[str, Any] = {"router": "entropy:0.25", "sampling": Sampling(temperature), "seed": 2}
    whole = foreign.ask(QUESTION, max_tokens=30, **options).finish()
    for kept in (1, 7, 16, 29):
        again = foreign.ask(QUESTION, max_tokens=30, resume_steps=whole.steps[:kept], reuse=True, **options)
        assert summary(again.finish()) == summary(whole)


def test_inspection_agrees_with_generation(foreign: Pair) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    trace = foreign.chat(messages, router="entropy:0.25", max_tokens=30).finish()
    checked = 0
    for index, step in enumerate(trace.steps):
        prediction = inspect_position(foreign, messages, trace.steps[:index])[step.role]
        if step.evaluated_tokens == 1:
            checked += 1
            assert prediction.entropy == pytest.approx(step.entropy, abs=1e-3)
            assert prediction.candidates[0].token == step.token
    assert checked > 5


def test_speculative_decoding_requires_one_tokenizer(foreign: Pair) -> None:
    with pytest.raises(ModelError, match="Speculative decoding compares single tokens"):
        foreign.ask(QUESTION, router="spec:4")


def test_the_notice_describes_the_combination(foreign: Pair, demo: Pair, tmp_path: Path) -> None:
    assert demo.notice is None
    assert foreign.notice is not None
    assert "different tokenizers" in foreign.notice
    with load_pair(**vars(write_pair(tmp_path, {"specials": SPECIALS[::-1]}))) as pair:
        assert pair.notice is not None
        assert "by a table (4 of the SLM's, 4 of the LLM's)" in pair.notice


def test_padding_is_neither_generated_nor_counted(tmp_path: Path) -> None:
    plain = write_pair(tmp_path / "plain")
    padded = write_pair(tmp_path / "padded", {"padding": 60}, {"padding": 28})
    traces = []
    for each in (plain, padded):
        with load_pair(slm=each.slm, llm=each.llm) as pair:
            for role in Role:
                assert pair.weights[role].n_vocab == len(ordinary_tokens()) + len(SPECIALS)
            assert pair.notice is None
            run = pair.ask(QUESTION, router="entropy:0.25", sampling=Sampling(1.0), seed=1, max_tokens=40)
            traces.append(run.finish())
            predictions = inspect_position(pair, [{"role": "user", "content": QUESTION}], [])
            assert all(
                prediction.candidates[0].token < pair.weights[role].n_vocab for role, prediction in predictions.items()
            )
    assert summary(traces[1]) == [
        (role, token, text, None if swap_entropy is None else pytest.approx(swap_entropy, abs=1e-5))
        for role, token, text, swap_entropy in summary(traces[0])
    ]
    assert traces[1].settings["vocabulary"] == traces[0].settings["vocabulary"]


def prompt_ends(tmp_path: Path, slm: dict[str, Any], llm: dict[str, Any]) -> dict[Role, str]:
    """Return how the prompts of both models end."""
    pair = write_pair(tmp_path, slm, llm)
    with load_pair(slm=pair.slm, llm=pair.llm) as loaded:
        messages = [{"role": "user", "content": "Hi"}]
        assert len({loaded.renderer.opens_thinking(messages)}) == 1
        return {role: loaded.renderer.text(messages, role).partition("assistant\n")[2] for role in Role}


OPENED = CHATML + "{{ '<think>\n' }}"
CHANNELS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
)


def test_thinking_opened_by_one_template_is_open_for_both(tmp_path: Path) -> None:
    assert set(prompt_ends(tmp_path / "slm", {"template": OPENED}, {}).values()) == {"<think>\n"}
    assert set(prompt_ends(tmp_path / "llm", {}, {"template": OPENED}).values()) == {"<think>\n"}
    assert set(prompt_ends(tmp_path / "both", {"template": OPENED}, {"template": OPENED}).values()) == {"<think>\n"}
    assert set(prompt_ends(tmp_path / "none", {}, {}).values()) == {""}


def test_each_model_gets_its_own_opening_tag(tmp_path: Path) -> None:
    mistral = (*SPECIALS[:2], "[THINK]", "[/THINK]")
    ends = prompt_ends(tmp_path / "a", {"template": OPENED}, {"specials": mistral})
    assert ends == {Role.SLM: "<think>\n", Role.LLM: "[THINK]\n"}
    # A model without tags gets the other model's.
    ends = prompt_ends(tmp_path / "b", {"template": OPENED}, {"specials": SPECIALS[:2]})
    assert ends == {Role.SLM: "<think>\n", Role.LLM: "<think>\n"}
    ends = prompt_ends(tmp_path / "c", {"template": OPENED}, {"specials": CHANNELS})
    assert ends[Role.LLM] == "<|channel|>analysis<|message|>\n"
    # A model with channels names one; here the other model answers directly.
    ends = prompt_ends(tmp_path / "d", {"specials": SPECIALS[:2]}, {"specials": CHANNELS})
    assert ends == {Role.SLM: "", Role.LLM: "<|channel|>final<|message|>"}


def test_channel_tags_are_part_of_the_text(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"specials": CHANNELS}, {"specials": ("<|im_end|>", "<|im_start|>", "<|end|>")})
    with load_pair(slm=files.slm, llm=files.llm) as pair:
        shown = {
            text: pair.bridge.vocabularies[role].piece(pair.bridge.vocabularies[role].texts.index(text.encode()))
            for role, text in [*((Role.SLM, text) for text in CHANNELS), (Role.LLM, "<|end|>")]
        }
        ended = pair.bridge.vocabularies[Role.SLM].piece(pair.bridge.vocabularies[Role.SLM].texts.index(b"<|end|>"))
    # In the LLM, which has no channels, it only ends a turn.
    assert shown["<|end|>"] == b""
    assert ended == b"<|end|>"
    assert all(shown[text] == text.encode() for text in CHANNELS[2:5])
    assert all(shown[text] == b"" for text in (*CHANNELS[:2], "<|return|>", "<|call|>"))


def test_tags_in_a_prefix_are_converted_for_each_model(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"specials": (*SPECIALS[:2], "[THINK]", "[/THINK]")})
    with load_pair(slm=files.slm, llm=files.llm) as pair:
        for role, mark in ((Role.SLM, b"[THINK]"), (Role.LLM, b"<think>")):
            ids = pair.render([{"role": "user", "content": "Hi"}], role, prefix="<think>\nfirst")
            assert pair.bridge.vocabularies[role].texts.index(mark) in ids


def test_skipped_thinking_stays_closed(tmp_path: Path) -> None:
    closed = CHATML + "{{ '<think>\n\n</think>\n\n' }}"
    ends = prompt_ends(tmp_path, {"template": OPENED}, {"template": closed})
    assert ends == {Role.SLM: "<think>\n", Role.LLM: "<think>\n\n</think>\n\n"}


@pytest.mark.parametrize("recurrent", Role)
@pytest.mark.parametrize("one_tokenizer", [True, False])
def test_a_model_without_truncation_can_be_used(tmp_path: Path, recurrent: Role, one_tokenizer: bool) -> None:
    mamba = write_recurrent_model(tmp_path / "mamba.gguf")
    llama = write_model(
        tmp_path / "llama.gguf",
        tokens=ordinary_tokens() if one_tokenizer else [*byte_letters()[::-1], *ordinary_tokens()[256:]],
    )
    slm, llm = (mamba, llama) if recurrent is Role.SLM else (llama, mamba)
    with load_pair(slm=slm, llm=llm) as pair:
        assert isinstance(pair.bridge, ForeignBridge) != one_tokenizer
        assert pair.notice is not None
        assert f"cache of the {recurrent.name} cannot be truncated" in pair.notice
        run = pair.ask(QUESTION, router="random:0.4", max_tokens=40)
        trace = run.finish()
        assert min(trace.tokens.values()) > 2
        # Swaps alone never require truncation.
        assert sum(trace.usage[recurrent].tokens) == run.trajectory.cached(recurrent)
        again = pair.ask(QUESTION, router="random:0.4", max_tokens=40, reuse=True).finish()
        assert again.text == trace.text
        if one_tokenizer:
            assert pair.ask(QUESTION, router="spec:3", max_tokens=20).finish().stop in ("length", "eog")


def test_real_tokenizers_preserve_any_text(foreign: Pair, shuffled: Pair) -> None:
    texts = [
        "👩‍🚀🇩🇪 flies", "e\u0301 é ﬁ", "漢字かな交じり文", "for i in range(3):\n\tx += 1\n\n", "$\\frac{1}{2}$",
        " the then thing", "<think>two</think>4", "<|im_end|>", "\ufffd\x00\x7f", "  ", "12345,67",
    ]  # fmt: skip
    for pair in (foreign, shuffled):
        assert isinstance(pair.bridge, ForeignBridge)
        for role, vocabulary in pair.bridge.vocabularies.items():
            for text in texts:
                ids = pair.bridge.retokenize(text, role)
                assert b"".join(map(vocabulary.piece, ids)).decode("utf-8") == text
                assert all(0 <= token < pair.weights[role].n_vocab for token in ids)
                assert not any(vocabulary.is_eog(token) for token in ids)
