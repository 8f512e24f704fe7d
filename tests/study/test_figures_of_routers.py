from __future__ import annotations

import pytest
from bench_fakes import compared_rows, some_rows
from problem_fakes import row

from rstitch_local.decoding.roles import Role
from rstitch_local.study.figures import Footprint, figures_of


def test_figures_by_hand() -> None:
    slow = [row("a", True, wall_ms=100.0), row("b", False, wall_ms=300.0)]
    fast = [row("a", True, wall_ms=50.0), row("b", True, wall_ms=150.0, tokens={"slm": 0, "llm": 4})]
    own = figures_of("slm", fast, slow, footprints={Role.SLM: Footprint(1000, 10), Role.LLM: Footprint(5000, 100)})
    assert own.speed_up == pytest.approx(2.0)
    assert own.speed_up_interval == pytest.approx((2.0, 2.0))
    assert own.seconds == pytest.approx(0.1)
    assert own.median_seconds == pytest.approx(0.1)
    assert (own.accuracy, own.loss, own.better, own.worse, own.p) == (1.0, -0.5, 1, 0, 1.0)
    assert own.loss_interval is not None
    assert own.loss_interval[0] < -0.5 < own.loss_interval[1]
    assert own.llm_share == pytest.approx(6 / 12)
    assert (own.tokens, own.slm_tokens, own.llm_tokens) == (6, 3, 3)
    assert (own.swaps_up, own.swaps_down, own.catch_up_tokens) == (2, 1, 2)
    # Each row says that both models evaluated 3 + 1 + 4 tokens and took 1.5 ms for each of the three kinds.
    assert own.cells == {"slm": 8, "llm": 8}
    assert own.memory_bytes == 1000 + 80 + 5000 + 800
    assert own.parts == pytest.approx(
        {"slm_decode": 0.0015, "llm_decode": 0.0015, "catch_up": 0.003, "prompt": 0.003, "rest": 0.1 - 0.009}
    )
    assert own.ms_per_token["slm decode"] == pytest.approx(1.5 / 4)
    assert own.ms_per_token["llm prompt"] == pytest.approx(0.5)


def test_a_model_that_was_not_used_takes_no_memory() -> None:
    kinds = dict.fromkeys(("prompt", "catch_up", "decode"), 0)
    rows = some_rows("rr", evaluated={"slm": {**kinds, "decode": 7}, "llm": kinds})
    own = figures_of("slm", rows, rows, footprints={Role.SLM: Footprint(1000, 10), Role.LLM: Footprint(5000, 100)})
    assert own.memory_bytes == 1070
    assert "llm decode" not in own.ms_per_token
    assert figures_of("slm", rows, rows).memory_bytes is None


def test_an_error_is_wrong_and_no_time() -> None:
    (llm, other), _ = compared_rows(llm=some_rows("rrr", ms=100), entropy_1=some_rows("rer", ms=50))
    assert other.accuracy == pytest.approx(2 / 3)
    assert (other.worse, other.better) == (1, 0)
    assert [failure.id for failure in other.failures] == ["p1"]
    # p0 and p2 alone: 100 + 102 against 50 + 52.
    assert other.speed_up == pytest.approx(202 / 102)
    assert other.seconds == pytest.approx(0.051)
    assert (llm.p, llm.speed_up_interval, llm.speed_up) == (None, None, 1.0)


@pytest.mark.parametrize("verdicts", ["rrrr", "wwww", "r", "w", "e", "eeee", "----", "-"])
def test_edges_have_right_figures(verdicts: str) -> None:
    (_, other), _ = compared_rows(llm=some_rows(verdicts, ms=20), entropy_1=some_rows(verdicts, ms=10))
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


def test_samples_of_one_problem_are_one_pair() -> None:
    llm = [row("a", True, sample=0), row("a", False, sample=1), row("b", True, sample=0), row("b", True, sample=1)]
    own = [row("a", True, sample=0), row("a", True, sample=1), row("b", False, sample=0), row("b", True, sample=1)]
    figures = figures_of("slm", own, llm)
    assert (figures.problems, figures.answers, figures.better, figures.worse) == (2, 4, 1, 1)
    # Two samples of 40 ms make 80 ms a problem.
    assert figures.seconds == pytest.approx(0.08)
