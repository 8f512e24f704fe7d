from __future__ import annotations

from typing import Any

import pytest
from bench_fakes import results_of, some_rows

from rstitch_local.study.bench_findings import bench_findings


def findings(split_problems: int = 0, **rows: list[dict[str, Any]]) -> str:
    results, named = results_of(**rows)
    return "\n".join(bench_findings(results, named, split_problems))


def test_the_best_router_is_the_fastest_that_is_as_accurate() -> None:
    text = findings(
        llm=some_rows("r" * 30, ms=200),
        entropy_1=some_rows("r" * 30, ms=100),
        entropy_2=some_rows("r" * 30, ms=150),
        slm=some_rows("w" * 20 + "r" * 10, ms=20),
        window_1=some_rows("w" * 2 + "r" * 28, ms=60),
    )
    assert text.startswith("Best: entropy:1, the fastest router with a loss of at most 1 point. Its speed-up")
    assert "speed-up over the LLM alone is 1.87x" in text
    assert ", significant. Its accuracy is 100.0%, that of the LLM alone 100.0%" in text
    assert "The second fastest, entropy:2, takes 1.44 times as long" in text
    assert "Faster, but with a loss that is not significant: window:1 (2.88x, loses 6.67 points, p = 0.5)." in text
    assert "Faster, but significantly less accurate: slm (6.22x, loses 66.7 points, p < 0.0001)." in text


def test_a_speed_up_whose_interval_contains_1_is_not_significant() -> None:
    slow, fast = some_rows("rrrr", ms=100), some_rows("rrrr", ms=98)
    for index, row in enumerate(fast):
        row["wall_ms"] += 30 * (-1) ** index
    text = findings(llm=slow, entropy_1=fast)
    assert "Best: entropy:1" in text
    assert ", not significant. Its accuracy" in text
    assert "Only 4 problems" in text


def test_the_time_breakdown_of_a_slower_router() -> None:
    evaluated = {"slm": {"prompt": 10, "catch_up": 0, "decode": 20}, "llm": {"prompt": 10, "catch_up": 30, "decode": 5}}
    ms = {
        "slm": {"prompt": 10.0, "catch_up": 0.0, "decode": 100.0},
        "llm": {"prompt": 20.0, "catch_up": 300.0, "decode": 50.0},
    }
    llm_evaluated = {
        "slm": dict.fromkeys(("prompt", "catch_up", "decode"), 0),
        "llm": {"prompt": 10, "catch_up": 0, "decode": 20},
    }
    llm_ms = {
        "slm": dict.fromkeys(llm_evaluated["slm"], 0.0),
        "llm": {"prompt": 20.0, "catch_up": 0.0, "decode": 200.0},
    }
    text = findings(
        llm=[
            {**row, "evaluated": llm_evaluated, "ms": llm_ms, "tokens": {"slm": 0, "llm": 20}}
            for row in some_rows("r" * 20, 225)
        ],
        entropy_1=[
            {**row, "evaluated": evaluated, "ms": ms, "tokens": {"slm": 18, "llm": 6}}
            for row in some_rows("r" * 20, 490)
        ],
    )
    assert text.startswith("Best: the LLM alone. No router with a loss of at most 1 point is faster.")
    assert "The fastest of them, entropy:1, has a speed-up of 0.47x" in text
    assert "Why entropy:1 is slower than the LLM alone: per problem, it saves 150 ms of LLM decode and adds" in text
    assert "adds 300 ms of catch-up, 100 ms of SLM decode, 10 ms of prompt" in text
    assert "Decoding a token takes 10 ms on the LLM, 5 ms on the SLM (ratio 2.0); a catch-up token takes 10 ms" in text
    assert "Catch-up is 60% of its time. Its answers are 20% longer than those of the LLM alone." in text


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [("----", "so accuracy is unknown"), ("eeee", "nothing to compare with"), ("r", "Only 1 problem:")],
)
def test_findings_without_grades_without_times_and_with_one_problem(verdicts: str, expected: str) -> None:
    assert expected in findings(llm=some_rows(verdicts, 90), entropy_1=some_rows(verdicts, 80))


def test_warnings() -> None:
    many = {f"entropy_{n}": some_rows("r" * 20, 100 + n) for n in range(6)}
    text = findings(3, llm=some_rows("r" * 20), slm=some_rows("r" * 19 + "e"), **many)
    assert "7 routers are compared" in text
    assert "For 3 of the 20 problems, routers answered in different sessions" in text
    assert "excluded from times): slm 1." in text
