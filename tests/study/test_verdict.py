from __future__ import annotations

from typing import Any

import pytest
from bench_fakes import compared_rows, some_rows

from rstitch_local.study.verdict import plain_words


def words(split: int = 0, **rows: list[dict[str, Any]]) -> str:
    figures, named = compared_rows(**rows)
    return "\n".join(plain_words(figures, named, split))


def test_the_fastest_that_is_as_right_wins() -> None:
    said = words(
        llm=some_rows("r" * 30, ms=200),
        entropy_1=some_rows("r" * 30, ms=100),
        entropy_2=some_rows("r" * 30, ms=150),
        slm=some_rows("w" * 20 + "r" * 10, ms=20),
        window_1=some_rows("w" * 2 + "r" * 28, ms=60),
    )
    assert said.startswith("entropy:1 wins: its speed-up over the LLM alone is 1.87x")
    assert "beyond noise. It has 100.0% right" in said
    assert "The next, entropy:2, takes 1.44 times as long" in said
    assert "Faster, but with a loss that may be noise: window:1 (2.88x, loses 6.67 points, p = 0.5)." in said
    assert "Faster, but less accurate beyond noise: slm (6.22x, loses 66.7 points, p < 0.0001)." in said


def test_a_gain_that_may_be_noise_is_called_so() -> None:
    slow = some_rows("rrrr", ms=100)
    for place, given in enumerate(fast := some_rows("rrrr", ms=98)):
        given["wall_ms"] += 30 * (-1) ** place
    said = words(llm=slow, entropy_1=fast)
    assert "entropy:1 wins" in said
    assert "which may be noise" in said
    assert "Only 4 problems" in said


def test_why_stitching_is_slower() -> None:
    evaluated = {"slm": {"prompt": 10, "catch_up": 0, "decode": 20}, "llm": {"prompt": 10, "catch_up": 30, "decode": 5}}
    ms = {
        "slm": {"prompt": 10.0, "catch_up": 0.0, "decode": 100.0},
        "llm": {"prompt": 20.0, "catch_up": 300.0, "decode": 50.0},
    }
    alone = {
        "slm": dict.fromkeys(("prompt", "catch_up", "decode"), 0),
        "llm": {"prompt": 10, "catch_up": 0, "decode": 20},
    }
    alone_ms = {"slm": dict.fromkeys(alone["slm"], 0.0), "llm": {"prompt": 20.0, "catch_up": 0.0, "decode": 200.0}}
    said = words(
        llm=[
            {**r, "evaluated": alone, "ms": alone_ms, "tokens": {"slm": 0, "llm": 20}} for r in some_rows("r" * 20, 225)
        ],
        entropy_1=[
            {**r, "evaluated": evaluated, "ms": ms, "tokens": {"slm": 18, "llm": 6}} for r in some_rows("r" * 20, 490)
        ],
    )
    assert said.startswith("The LLM alone wins: nothing is faster")
    assert "has a speed-up of 0.47x" in said
    assert "Why entropy:1 is slower than the LLM alone: a problem, it saves 150 ms of LLM decode and pays" in said
    assert "pays 300 ms of catch-up, 100 ms of SLM decode, 10 ms of prompt" in said
    assert "costs 2.0 times one by the SLM (10 against 5 ms), one the LLM catches up on 10 ms." in said
    assert "Catch-up takes 60% of its time; its answers are 20% longer" in said


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [("----", "nothing is known of how right"), ("eeee", "nothing can be compared"), ("r", "Only 1 problem:")],
)
def test_edges_are_sentences(verdicts: str, says: str) -> None:
    assert says in words(llm=some_rows(verdicts, 90), entropy_1=some_rows(verdicts, 80))


def test_cautions() -> None:
    many = {f"entropy_{n}": some_rows("r" * 20, 100 + n) for n in range(6)}
    said = words(3, llm=some_rows("r" * 20), slm=some_rows("r" * 19 + "e"), **many)
    assert "7 routers are compared" in said
    assert "3 of the 20 problems were answered by some routers in another sitting" in said
    assert "not for times): slm 1." in said
