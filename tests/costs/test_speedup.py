"""The expected speed-up, compared with sums computed by hand."""

from __future__ import annotations

import pytest

from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.speedup import Workload, break_even_share, describe, speed_up, stitched_ms


def flat(single: float, token: float, batch: float, outside_ms: float = 0.0) -> ModelLatency:
    """`single` ms for one token; `token` ms per token plus `batch` for several."""
    formula = Formula(prefill=(0, 0, token, batch), decode=(0, single))
    return ModelLatency(n_batch=512, formula=formula, outside_ms=outside_ms)


# On a GPU a batch costs little more than one token; on two cores each token of a batch costs almost as much as one.
GPU = PairLatency(slm=flat(4, 0.02, 4), llm=flat(20, 0.1, 20))
CORES = PairLatency(slm=flat(24, 20, 4), llm=flat(52, 45, 7))


def test_the_time_of_an_answer_by_both_models() -> None:
    latency = PairLatency(slm=flat(4, 1, 10, 0.5), llm=flat(20, 2, 30, 0.25))
    workload = Workload(prompt_tokens=100, answer_tokens=60, visit_tokens=2)
    # A share of a fifth: 6 visits of 2 tokens, with 8 tokens of the SLM in between.
    prompt = (100 + 10 + 0.5) + (200 + 30 + 0.25)
    cycle = (2 + 10 + 0.5) + 8 * 4.5 + (9 * 2 + 30 + 0.25) + 1 * 20.25
    assert stitched_ms(latency, 0.2, workload) == pytest.approx(prompt + 6 * cycle)
    alone = (200 + 30 + 0.25) + 59 * 20.25
    assert speed_up(latency, 0.2, workload) == pytest.approx(alone / (prompt + 6 * cycle))


def test_cheap_catch_ups_give_a_speed_up() -> None:
    assert speed_up(GPU, 0.05) > speed_up(GPU, 0.2) > speed_up(GPU, 0.4)
    assert speed_up(GPU, 0.05) > 3
    share = break_even_share(GPU)
    assert share is not None
    assert share > 0.6
    assert speed_up(GPU, share) > 1 >= speed_up(GPU, share + 0.01)
    assert f"slower than the LLM alone above an LLM share of {share:.0%}" in "\n".join(describe(GPU))


def test_expensive_catch_ups_give_none() -> None:
    assert break_even_share(CORES) is None
    assert "slower than the LLM alone on this machine" in "\n".join(describe(CORES))


def test_longer_visits_are_faster() -> None:
    assert speed_up(GPU, 0.3, Workload(visit_tokens=8)) > speed_up(GPU, 0.3, Workload(visit_tokens=1))


def test_a_free_slm_gives_a_speed_up_at_any_share() -> None:
    free = PairLatency(slm=flat(0.001, 0, 0.001), llm=flat(20, 0, 0.001))
    assert break_even_share(free, Workload(visit_tokens=1)) == 0.99
    assert "at any LLM share" in "\n".join(describe(free, Workload(visit_tokens=1)))


def test_the_description() -> None:
    lines = describe(GPU, Workload(prompt_tokens=100, answer_tokens=200, visit_tokens=1.5))
    assert lines[:3] == ["Decoding one token after 200 cached tokens:", "  SLM   4.00 ms", "  LLM   20.0 ms"]
    assert lines[5].split()[1::2] == ["4.00", "4.04", "4.08", "4.16", "4.32", "4.64"]
    for share in (0.05, 0.1, 0.2, 0.4):
        assert f"{speed_up(GPU, share, Workload(100, 200, 1.5)):.2f}x at {share:.0%}" in lines[-2]
    assert "1.5 tokens per visit to the LLM" in lines[-1]
    assert "0 ms" in describe(PairLatency(slm=flat(0, 0, 0), llm=flat(20, 1, 1)))[1]
