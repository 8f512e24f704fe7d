"""What a machine offers: layers that fit, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.engine import machine
from rstitch_local.engine.machine import (
    TINY_MODEL_BYTES,
    Demand,
    batch_size,
    cache_bytes,
    default_threads,
    fit_layers,
    plan_slots,
    require_memory,
)
from rstitch_local.errors import ModelError
from rstitch_local.llama import library

RESERVE = 512 << 20

# Small numbers, so that memory often ends in the middle of a model.
demands = st.lists(st.builds(Demand, st.integers(1, 20), st.integers(1, 50)), max_size=4)
sizes = st.integers(0, 1500).map(lambda more: RESERVE + more) | st.integers(0, RESERVE)


@given(demands, sizes)
def test_what_goes_to_the_gpu_fits(wanted: list[Demand], free: int) -> None:
    counts = fit_layers(wanted, free)
    assert len(counts) == len(wanted)
    assert all(0 <= count <= demand.layers for count, demand in zip(counts, wanted, strict=True))
    real = sum(count * demand.layer_bytes for count, demand in zip(counts, wanted, strict=True))
    assert real <= max(0, free - RESERVE)


@given(demands, sizes)
def test_no_layer_is_left_out_that_would_fit(wanted: list[Demand], free: int) -> None:
    room = max(0, free - RESERVE)
    for demand, count in zip(wanted, fit_layers(wanted, free), strict=True):
        room -= count * demand.layer_bytes
        assert count == demand.layers or room < max(1, demand.layer_bytes)


@given(demands, demands, sizes)
def test_the_first_is_served_as_if_it_were_alone(first: list[Demand], rest: list[Demand], free: int) -> None:
    assert fit_layers([*first, *rest], free)[: len(first)] == fit_layers(first, free)


@given(demands, sizes)
def test_the_first_never_loses_by_more_memory(wanted: list[Demand], free: int) -> None:
    assert fit_layers(wanted, free)[:1] <= fit_layers(wanted, free + 100)[:1]


def test_an_example() -> None:
    small, large = Demand(25, 20 << 20), Demand(29, 40 << 20)
    assert fit_layers([small, large], 0) == [0, 0]
    assert fit_layers([small, large], RESERVE + (500 << 20)) == [25, 0]
    assert fit_layers([small, large], RESERVE + (580 << 20)) == [25, 2]
    assert fit_layers([small, large], 64 << 30) == [25, 29]


def test_a_tiny_model_gets_one_thread() -> None:
    assert default_threads(TINY_MODEL_BYTES - 1) == 1


@pytest.mark.parametrize(("physical", "allowed", "threads"), [(8, 16, 8), (8, 2, 2), (1, 4, 1), (None, 64, 6)])
def test_a_real_model_gets_the_physical_cores_it_may_use(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, allowed: int, threads: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None if logical else physical)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(allowed)), raising=False)
    assert default_threads(TINY_MODEL_BYTES) == threads


@pytest.mark.parametrize(
    ("gpu_layers", "sequences", "tokens"), [(0, 1, 64), (0, 4, 64), (0, 5, 80), (0, 16, 256), (0, 64, 256), (1, 1, 512)]
)
def test_many_sequences_get_larger_batches(gpu_layers: int, sequences: int, tokens: int) -> None:
    assert batch_size(gpu_layers, sequences) == tokens


def test_slots_follow_the_memory() -> None:
    token, context = 1000, 1024
    whole = token * context
    # Half of what is free may become caches; slots are four times what fits in full, 16 at the most.
    assert plan_slots(token, context, 2 * 16 * whole) == (16, 16 * context)
    assert plan_slots(token, context, 2 * 5 * whole) == (16, 5 * context)
    assert plan_slots(token, context, 2 * 2 * whole) == (8, 2 * context)
    # Never less than one, whatever that leads to.
    assert plan_slots(token, context, 0) == (4, context)
    assert plan_slots(token, context, -whole) == (4, context)
    # A number that somebody gave is kept; the cells are what fits.
    assert plan_slots(token, context, 2 * 5 * whole, 3) == (3, 3 * context)
    assert plan_slots(token, context, 2 * 5 * whole, 64) == (64, 5 * context)


def test_a_pair_stays_within_the_memory_that_was_predicted() -> None:
    script = (
        "import psutil\n"
        "from rstitch_local import load_pair\n"
        "from rstitch_local.decoding.roles import Role\n"
        "from rstitch_local.engine.machine import predict_memory\n"
        "from rstitch_local.engine.loading import LoadOptions\n"
        "before = psutil.Process().memory_info().rss\n"
        "with load_pair('demo', options=LoadOptions(sequences=16, threads=1)) as pair:\n"
        "    runs = (pair.ask(f'Tom has {n} apples and buys 4 more. How many now?') for n in range(40))\n"
        "    for _ in pair.run_all(runs): pass\n"
        "    taken = psutil.Process().memory_info().rss - before\n"
        "    context = pair.contexts[Role.LLM]\n"
        "    summaries = [weights.summary for weights in pair.weights.values()]\n"
        "    print(taken, predict_memory(summaries, context.kv_cells, 16, 'f16').total)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    taken, predicted = map(int, done.stdout.split())
    assert 0 < taken <= predicted


def test_caches_by_precision() -> None:
    # Qwen2.5 0.5B at 4096 tokens: 12,288 bytes a token.
    full = cache_bytes(12_288, 4096, "f16")
    assert full == 4096 * (12_288 + 64)
    assert full > cache_bytes(12_288, 4096, "q8_0") > cache_bytes(12_288, 4096, "q4_0") > full // 5


def test_caches_that_do_not_fit_are_refused() -> None:
    require_memory(1)
    with pytest.raises(ModelError, match=r"KV caches need .* GB") as caught:
        require_memory(psutil.virtual_memory().total * 2)
    assert "--context" in caught.value.hint


@dataclass(frozen=True)
class Card:
    kind: str
    free_bytes: int


def test_the_machines_own_memory_is_told_from_that_of_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [Card("cpu", 1), Card("gpu", 10), Card("igpu", 100), Card("gpu", 1000), Card("accel", 10_000)]
    monkeypatch.setattr(library, "devices", lambda: cards)
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.free_gpu_bytes() == 1110
    assert machine.free_gpu_bytes(shared=False) == 1010
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.free_gpu_bytes() == 1110
    assert machine.free_gpu_bytes(shared=False) == 0
