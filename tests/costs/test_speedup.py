"""What stitching can bring by the cost model alone, against sums done by hand."""

from __future__ import annotations

import pytest

from rstitch_local.costs.latency import Formula, ModelLatency, PairLatency
from rstitch_local.costs.speedup import Workload, break_even_share, plain_words, speed_up, stitched_ms


def flat(single: float, token: float, batch: float, outside_ms: float = 0.0) -> ModelLatency:
    """`single` ms for one token; `token` ms a token and `batch` more for several."""
    formula = Formula(prefill=(0, 0, token, batch), decode=(0, single))
    return ModelLatency(n_batch=512, formula=formula, outside_ms=outside_ms)


# A GPU reads a batch in hardly more time than a token; two cores take nearly as long for each token of a batch.
GPU = PairLatency(slm=flat(4, 0.02, 4), llm=flat(20, 0.1, 20))
CORES = PairLatency(slm=flat(24, 20, 4), llm=flat(52, 45, 7))


def test_the_time_of_a_stitched_answer() -> None:
    latency = PairLatency(slm=flat(4, 1, 10, 0.5), llm=flat(20, 2, 30, 0.25))
    picture = Workload(prompt=100, written=60, stay=2)
    # At a fifth: 6 visits of 2 tokens, 8 of the SLM between two of them.
    prompt = (100 + 10 + 0.5) + (200 + 30 + 0.25)
    cycle = (2 + 10 + 0.5) + 8 * 4.5 + (9 * 2 + 30 + 0.25) + 1 * 20.25
    assert stitched_ms(latency, 0.2, picture) == pytest.approx(prompt + 6 * cycle)
    alone = (200 + 30 + 0.25) + 59 * 20.25
    assert speed_up(latency, 0.2, picture) == pytest.approx(alone / (prompt + 6 * cycle))


def test_where_catching_up_is_cheap_stitching_pays() -> None:
    assert speed_up(GPU, 0.05) > speed_up(GPU, 0.2) > speed_up(GPU, 0.4)
    assert speed_up(GPU, 0.05) > 3
    share = break_even_share(GPU)
    assert share is not None
    assert share > 0.6
    assert speed_up(GPU, share) > 1 >= speed_up(GPU, share + 0.01)
    assert f"above an LLM share of {share:.0%}" in "\n".join(plain_words(GPU))


def test_where_it_is_dear_it_cannot() -> None:
    assert break_even_share(CORES) is None
    assert "cannot beat the LLM alone on this machine" in "\n".join(plain_words(CORES))


def test_longer_stays_cost_fewer_swaps() -> None:
    assert speed_up(GPU, 0.3, Workload(stay=8)) > speed_up(GPU, 0.3, Workload(stay=1))


def test_where_the_llm_costs_nothing_more_any_share_pays() -> None:
    free = PairLatency(slm=flat(0.001, 0, 0.001), llm=flat(20, 0, 0.001))
    assert break_even_share(free, Workload(stay=1)) == 0.99
    assert "at any LLM share" in "\n".join(plain_words(free, Workload(stay=1)))


def test_in_plain_words() -> None:
    words = plain_words(GPU, Workload(prompt=100, written=200, stay=1.5))
    assert words[:3] == ["A token written after 200 others costs", "  SLM   4.00 ms", "  LLM   20.0 ms"]
    assert words[5].split() == [
        "SLM",
        "4.00",
        "ms",
        "4.04",
        "ms",
        "4.08",
        "ms",
        "4.16",
        "ms",
        "4.32",
        "ms",
        "4.64",
        "ms",
    ]
    for share in (0.05, 0.1, 0.2, 0.4):
        assert f"{speed_up(GPU, share, Workload(100, 200, 1.5)):.2f}x at {share:.0%}" in words[-2]
    assert "visits to the LLM of 1.5 tokens" in words[-1]
    assert "0 ms" in plain_words(PairLatency(slm=flat(0, 0, 0), llm=flat(20, 1, 1)))[1]
