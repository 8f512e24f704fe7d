"""The shipped models: they share a tokenizer, and solve as many problems as the data card states."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rstitch_local import builtin
from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.llama.gguf_check import check_gguf

BOXED = re.compile(r"\\boxed\{(\d+)\}")
PROBLEMS = 100
LARGEST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    options = LoadOptions(threads=1, context=1024)
    with load_pair(slm=builtin.SLM_FILE, llm=builtin.LLM_FILE, options=options) as loaded:
        yield loaded


def card_row(router: str) -> tuple[float, float, float, float]:
    """A router's row of the data card: accuracy and its interval in percent, mean tokens per answer."""
    number = r"([\d.]+)"
    pattern = rf"^\| {re.escape(router)} \| {number} % \| {number} to {number} \| {number} \|"
    match = re.search(pattern, builtin.DATA_CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"the data card has no row for {router}"
    accuracy, low, high, tokens = (float(group) for group in match.groups())
    return accuracy, low, high, tokens


def answer(pair: Pair, question: str, router: str) -> tuple[str, int, str | None]:
    """Text, number of tokens and stop reason of an answer."""
    run = pair.ask(question, router=router, sampling=Sampling(), max_tokens=800)
    text = "".join(step.text for step in run)
    return text, len(run.trace.steps), run.trace.stop


def test_files_are_small() -> None:
    assert builtin.SLM_FILE.stat().st_size + builtin.LLM_FILE.stat().st_size <= LARGEST_BYTES
    for path in (builtin.SLM_FILE, builtin.LLM_FILE):
        assert check_gguf(path).architecture == "llama"


def test_data_card_begins_with_the_greeting() -> None:
    lines = [line for line in builtin.DATA_CARD.read_text(encoding="utf-8").splitlines() if line]
    assert lines[1] == builtin.GREETING


def test_models_share_a_tokenizer(pair: Pair) -> None:
    slm, llm = pair.weights[Role.SLM], pair.weights[Role.LLM]
    assert slm.token_texts() == llm.token_texts()
    assert [slm.piece(token) for token in slm.tokenize("1234", parse_special=False)] == [b"1", b"2", b"3", b"4"]
    for special in ("<|im_start|>", "<|im_end|>", "<think>", "</think>"):
        (token,) = slm.tokenize(special, parse_special=True)
        assert slm.is_eog(token) == (special == "<|im_end|>")
    # Thinking tags are part of the text, turn tags are not.
    (think,) = slm.tokenize("<think>", parse_special=True)
    assert slm.piece(think) == b"<think>"


@pytest.mark.parametrize("router", ["slm", "llm"])
def test_accuracy_matches_the_data_card(pair: Pair, router: str) -> None:
    problems = [word_problems.generate(word_problems.EVALUATION_SEED, index) for index in range(PROBLEMS)]
    right = tokens = 0
    for problem in problems:
        text, count, stop = answer(pair, problem.question, router)
        assert stop == "eog"
        assert text.startswith("<think>") == (router == "llm")
        boxed = BOXED.findall(text)
        right += bool(boxed) and int(boxed[-1]) == problem.answer
        tokens += count
    accuracy, _low, _high, mean_tokens = card_row(router)
    # Three standard errors at the stated accuracy; processors round differently.
    share = accuracy / 100
    error = max((share * (1 - share) / PROBLEMS) ** 0.5, 1 / PROBLEMS)
    assert abs(right / PROBLEMS - share) <= 3 * error
    assert abs(tokens / PROBLEMS - mean_tokens) <= 0.1 * mean_tokens


def test_large_model_is_accurate_and_verbose() -> None:
    slm, llm = card_row("slm"), card_row("llm")
    assert llm[0] >= 92
    assert 45 <= slm[0] <= 70
    assert llm[3] >= 2.5 * slm[3]


def test_stitched_answer_keeps_the_style_of_the_slm(pair: Pair) -> None:
    problem = word_problems.generate(word_problems.EXAMPLES_SEED, 0)
    stitched, tokens, _ = answer(pair, problem.question, "entropy:0.005")
    assert "<think>" not in stitched
    assert tokens < 100
