"""The benchmarks that run llama.cpp's own programs: parsing of their output, missing values, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_peers import Contestant, compare_prompts, measure, table
from llama_peer import (
    PeerAnswer,
    PeerError,
    parse_bench,
    parse_completion,
    parse_speculative,
    run_bench,
    run_speculative,
    version,
)

SPECULATIVE = """
decoded    7 tokens in    9.000 seconds, said the model

encoded   68 tokens in    3.482 seconds, speed:   19.531 t/s
decoded   33 tokens in    3.551 seconds, speed:    9.293 t/s

n_draft   = 3
n_predict = 33
n_drafted = 33
n_accept  = 21
accept    = 63.636%
"""


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def test_output_of_speculative_decoding() -> None:
    answer = parse_speculative(SPECULATIVE)
    assert answer == PeerAnswer(33, 3551.0, 68, 3482.0, 33, 21)
    assert answer.missing == []
    cut = parse_speculative(SPECULATIVE.partition("decoded   33")[0].partition("decoded    7")[2])
    assert cut.missing == ["tokens", "ms"]
    assert parse_speculative("").missing == ["tokens", "ms", "prompt_tokens", "prompt_ms"]


def test_replies_of_the_server() -> None:
    timings = {"prompt_n": 9, "prompt_ms": 50.5, "predicted_n": 4, "predicted_ms": 100}
    assert parse_completion({"tokens_predicted": 4, "tokens": [5, 6, 7, 8], "timings": timings}) == PeerAnswer(
        4, 100.0, 9, 50.5, ids=(5, 6, 7, 8)
    )
    assert parse_completion({"tokens_predicted": 4, "tokens": [], "timings": None}).missing == [
        "ms", "prompt_tokens", "prompt_ms",
    ]  # fmt: skip


def test_output_of_llama_bench() -> None:
    rows = [
        {"model_filename": "/a/slm.gguf", "n_prompt": 128, "n_gen": 0, "avg_ts": 100.5},
        {"model_filename": "/a/slm.gguf", "n_prompt": 0, "n_gen": 64, "avg_ts": 30.25},
        {"model_filename": "/a/llm.gguf", "n_prompt": 0, "n_gen": 64},
        "nothing",
    ]
    speeds = parse_bench(f"loading\n{json.dumps(rows)}\n")
    assert speeds == {("slm.gguf", "prompt"): 100.5, ("slm.gguf", "write"): 30.25}
    for nothing in ("", "error", "[", "[}]", '{"a": 1}'):
        assert parse_bench(nothing) == {}


def test_a_missing_or_failing_program_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="llama-bench does not start"):
        run_bench(tmp_path, [], prompt=1, write=1, threads=1)
    program(tmp_path, "llama-bench", "echo the model is broken >&2; exit 3")
    with pytest.raises(PeerError, match="llama-bench failed with exit code 3: the model is broken"):
        run_bench(tmp_path, [], prompt=1, write=1, threads=1)
    assert version(tmp_path) == "unknown version"
    program(tmp_path, "llama-server", 'echo "version: 1 (abc)"; echo "built with cc for x" >&2')
    assert version(tmp_path) == "version: 1 (abc), built with cc for x"


def test_the_prompt_is_passed_unchanged(tmp_path: Path) -> None:
    program(tmp_path, "llama-speculative-simple", f'echo "$@" > {tmp_path}/called; cat "${{10}}" > {tmp_path}/prompt')
    text = "What is \\boxed{}?\n<|im_start|>assistant\n"
    answer = run_speculative(
        tmp_path, Path("s.gguf"), Path("l.gguf"), text, draft=3, max_tokens=5, context=64, threads=2
    )
    assert (tmp_path / "prompt").read_text(encoding="utf-8") == text
    assert "--no-escape" in (tmp_path / "called").read_text(encoding="utf-8")
    assert answer.missing


def test_every_contestant_answers_every_prompt_and_failures_are_recorded() -> None:
    asked: list[tuple[str, int]] = []

    def contestant(name: str, ms: float, ids: tuple[int, ...]) -> Contestant:
        def answer(messages: object, max_tokens: int) -> PeerAnswer:
            assert messages
            asked.append((name, max_tokens))
            if name == "broken" and max_tokens > 4:
                raise PeerError("it ended with 1")
            return PeerAnswer(8, ms, 10, 20.0, 10 if name == "spec" else None, 6, ids)

        return Contestant(answer)

    contestants = {
        "engine, llm": contestant("llm", 100, (1, 2, 3)),
        "spec": contestant("spec", 50, (1, 2)),
        "broken": contestant("broken", 1, ()),
    }
    measure(contestants, [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]], 9)
    assert [name for name, _ in asked] == ["llm", "spec", "broken"] * 2 + ["spec", "broken", "llm"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(contestants).splitlines()]
    assert rows[3][:6] == ["spec", "2", "16", "160.0", "2.00 (2.00 to 2.00)", "500.0"]
    assert rows[3][7:] == ["60% of 20", "2 of 2"]
    assert rows[4][:2] == ["broken", "0"]
    assert list(contestants["broken"].problems) == ["it ended with 1"]
    contestants["spec"].answers[1] = PeerAnswer(8, 50, 11, 20.0)
    compare_prompts(contestants)
    assert list(contestants["spec"].problems) == ["a prompt had 11 tokens, for the engine's LLM 10"]
    assert not contestants["engine, llm"].problems
