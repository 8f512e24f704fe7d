from __future__ import annotations

import pytest
from bench_fakes import results_of, some_rows
from problem_fakes import row

from rstitch_local.decoding.roles import Role
from rstitch_local.study.router_metrics import MemoryFootprint, metrics_of

FOOTPRINTS = {Role.SLM: MemoryFootprint(1000, 10), Role.LLM: MemoryFootprint(5000, 100)}


def test_metrics_by_hand() -> None:
    slow = [row("a", True, wall_ms=100.0), row("b", False, wall_ms=300.0)]
    fast = [row("a", True, wall_ms=50.0), row("b", True, wall_ms=150.0, tokens={"slm": 0, "llm": 4})]
    result = metrics_of("slm", fast, slow, footprints=FOOTPRINTS)
    assert result.speed_up == pytest.approx(2.0)
    assert result.speed_up_interval == pytest.approx((2.0, 2.0))
    assert result.seconds == pytest.approx(0.1)
    assert result.median_seconds == pytest.approx(0.1)
    assert (result.accuracy, result.loss, result.better, result.worse, result.p) == (1.0, -0.5, 1, 0, 1.0)
    assert result.loss_interval is not None
    assert result.loss_interval[0] < -0.5 < result.loss_interval[1]
    assert result.llm_share == pytest.approx(6 / 12)
    assert (result.tokens, result.slm_tokens, result.llm_tokens) == (6, 3, 3)
    assert (result.swaps_up, result.swaps_down, result.catch_up_tokens) == (2, 1, 2)
    # In each row, each model evaluated 3 + 1 + 4 tokens and took 1.5 ms for each of the three kinds.
    assert result.kv_cells == {"slm": 8, "llm": 8}
    assert result.memory_bytes == 1000 + 80 + 5000 + 800
    assert result.parts == pytest.approx(
        {"slm_decode": 0.0015, "llm_decode": 0.0015, "catch_up": 0.003, "prompt": 0.003, "rest": 0.1 - 0.009}
    )
    assert result.ms_per_token["slm decode"] == pytest.approx(1.5 / 4)
    assert result.ms_per_token["llm prompt"] == pytest.approx(0.5)


def test_the_dictionary_has_the_names_of_figures_json() -> None:
    result = metrics_of("slm", [row("a", True)], [row("a", True)])
    record = result.to_dict()
    assert record["cells"] == {"slm": 8, "llm": 8}
    assert list(record) == [
        "router", "problems", "answers", "graded", "correct", "failures", "cut_off", "accuracy", "interval", "loss",
        "loss_interval", "better", "worse", "p", "seconds", "median_seconds", "speed_up", "speed_up_interval",
        "llm_share", "tokens", "slm_tokens", "llm_tokens", "swaps_up", "swaps_down", "catch_up_tokens", "cells",
        "memory_bytes", "parts", "ms_per_token",
    ]  # fmt: skip


def test_an_unused_model_needs_no_memory() -> None:
    kinds = dict.fromkeys(("prompt", "catch_up", "decode"), 0)
    rows = some_rows("rr", evaluated={"slm": {**kinds, "decode": 7}, "llm": kinds})
    result = metrics_of("slm", rows, rows, footprints=FOOTPRINTS)
    assert result.memory_bytes == 1070
    assert "llm decode" not in result.ms_per_token
    assert metrics_of("slm", rows, rows).memory_bytes is None


def test_an_error_counts_as_wrong_and_is_excluded_from_times() -> None:
    (llm, other), _ = results_of(llm=some_rows("rrr", ms=100), entropy_1=some_rows("rer", ms=50))
    assert other.accuracy == pytest.approx(2 / 3)
    assert (other.worse, other.better) == (1, 0)
    assert [failure.id for failure in other.failures] == ["p1"]
    # p0 and p2 only: 100 + 102 against 50 + 52.
    assert other.speed_up == pytest.approx(202 / 102)
    assert other.seconds == pytest.approx(0.051)
    assert (llm.p, llm.speed_up_interval, llm.speed_up) == (None, None, 1.0)


@pytest.mark.parametrize("verdicts", ["rrrr", "wwww", "r", "w", "e", "eeee", "----", "-"])
def test_metrics_of_uniform_verdicts(verdicts: str) -> None:
    (_, other), _ = results_of(llm=some_rows(verdicts, ms=20), entropy_1=some_rows(verdicts, ms=10))
    count = len(verdicts)
    if "-" in verdicts:
        assert (other.accuracy, other.interval, other.p, other.loss, other.loss_interval) == (None,) * 5
    else:
        share = float(verdicts[0] == "r")
        assert other.accuracy == share
        assert other.interval is not None
        low, high = other.interval
        if share:
            assert low == pytest.approx(0.2065 if count == 1 else 0.5101, abs=1e-3)
        else:
            assert high == pytest.approx(0.7935 if count == 1 else 0.4899, abs=1e-3)
        assert other.p == 1
        assert other.loss_interval is not None
        assert other.loss_interval[0] < 0 < other.loss_interval[1]
    if "e" in verdicts:
        assert (other.seconds, other.speed_up, other.tokens, other.llm_share, other.parts) == (None,) * 4 + ({},)
    else:
        assert other.speed_up is not None
        assert (other.speed_up_interval is None) is (count == 1)


def test_samples_of_a_problem_count_as_one_pair() -> None:
    llm = [row("a", True, sample=0), row("a", False, sample=1), row("b", True, sample=0), row("b", True, sample=1)]
    slm = [row("a", True, sample=0), row("a", True, sample=1), row("b", False, sample=0), row("b", True, sample=1)]
    result = metrics_of("slm", slm, llm)
    assert (result.problems, result.answers, result.better, result.worse) == (2, 4, 1, 1)
    # Two samples of 40 ms each are 80 ms per problem.
    assert result.seconds == pytest.approx(0.08)
