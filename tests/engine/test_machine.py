"""Resources of the machine: GPU layers, threads, memory."""

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

# Small numbers, so that memory often suffices for a part of a model.
demands = st.lists(st.builds(Demand, st.integers(1, 20), st.integers(1, 50)), max_size=4)
sizes = st.integers(0, 1500).map(lambda more: RESERVE + more) | st.integers(0, RESERVE)


@given(demands, sizes)
def test_offloaded_layers_fit(models: list[Demand], free: int) -> None:
    counts = fit_layers(models, free)
    assert len(counts) == len(models)
    assert all(0 <= count <= demand.layers for count, demand in zip(counts, models, strict=True))
    real = sum(count * demand.layer_bytes for count, demand in zip(counts, models, strict=True))
    assert real <= max(0, free - RESERVE)


@given(demands, sizes)
def test_all_layers_that_fit_are_offloaded(models: list[Demand], free: int) -> None:
    capacity = max(0, free - RESERVE)
    for demand, count in zip(models, fit_layers(models, free), strict=True):
        capacity -= count * demand.layer_bytes
        assert count == demand.layers or capacity < max(1, demand.layer_bytes)


@given(demands, demands, sizes)
def test_the_first_model_is_not_affected_by_the_others(first: list[Demand], rest: list[Demand], free: int) -> None:
    assert fit_layers([*first, *rest], free)[: len(first)] == fit_layers(first, free)


@given(demands, sizes)
def test_more_memory_never_means_fewer_layers_of_the_first_model(models: list[Demand], free: int) -> None:
    assert fit_layers(models, free)[:1] <= fit_layers(models, free + 100)[:1]


def test_an_example() -> None:
    small, large = Demand(25, 20 << 20), Demand(29, 40 << 20)
    assert fit_layers([small, large], 0) == [0, 0]
    assert fit_layers([small, large], RESERVE + (500 << 20)) == [25, 0]
    assert fit_layers([small, large], RESERVE + (580 << 20)) == [25, 2]
    assert fit_layers([small, large], 64 << 30) == [25, 29]


def test_a_tiny_model_uses_one_thread() -> None:
    assert default_threads(TINY_MODEL_BYTES - 1) == 1


@pytest.mark.parametrize(("physical", "allowed", "threads"), [(8, 16, 8), (8, 2, 2), (1, 4, 1), (None, 64, 6)])
def test_a_real_model_uses_the_available_physical_cores(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, allowed: int, threads: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None if logical else physical)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(allowed)), raising=False)
    assert default_threads(TINY_MODEL_BYTES) == threads


@pytest.mark.parametrize(
    ("gpu_layers", "sequences", "tokens"), [(0, 1, 64), (0, 4, 64), (0, 5, 80), (0, 16, 256), (0, 64, 256), (1, 1, 512)]
)
def test_many_sequences_use_larger_batches(gpu_layers: int, sequences: int, tokens: int) -> None:
    assert batch_size(gpu_layers, sequences) == tokens


def test_the_number_of_slots_depends_on_memory() -> None:
    token, context = 1000, 1024
    whole = token * context
    # Half of the free memory is for KV caches; there are four slots per full context that fits, up to 16.
    assert plan_slots(token, context, 2 * 16 * whole) == (16, 16 * context)
    assert plan_slots(token, context, 2 * 5 * whole) == (16, 5 * context)
    assert plan_slots(token, context, 2 * 2 * whole) == (8, 2 * context)
    # At least one context, even if it does not fit.
    assert plan_slots(token, context, 0) == (4, context)
    assert plan_slots(token, context, -whole) == (4, context)
    # A given number is kept; the cells are limited by memory.
    assert plan_slots(token, context, 2 * 5 * whole, 3) == (3, 3 * context)
    assert plan_slots(token, context, 2 * 5 * whole, 64) == (64, 5 * context)


def test_a_pair_stays_within_the_predicted_memory() -> None:
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


def test_cache_size_by_precision() -> None:
    # Qwen2.5 0.5B at 4096 tokens: 12,288 bytes per token.
    full = cache_bytes(12_288, 4096, "f16")
    assert full == 4096 * (12_288 + 64)
    assert full > cache_bytes(12_288, 4096, "q8_0") > cache_bytes(12_288, 4096, "q4_0") > full // 5


def test_caches_that_do_not_fit_are_refused() -> None:
    require_memory(1)
    with pytest.raises(ModelError, match=r"KV caches need .* GB") as caught:
        require_memory(psutil.virtual_memory().total * 2)
    assert "--context" in caught.value.hint


@dataclass(frozen=True)
class Gpu:
    kind: str
    free_bytes: int


def test_shared_memory_is_distinguished_from_dedicated_gpu_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Gpu("cpu", 1), Gpu("gpu", 10), Gpu("igpu", 100), Gpu("gpu", 1000), Gpu("accel", 10_000)]
    monkeypatch.setattr(library, "devices", lambda: gpus)
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.free_gpu_bytes() == 1110
    assert machine.free_gpu_bytes(shared=False) == 1010
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.free_gpu_bytes() == 1110
    assert machine.free_gpu_bytes(shared=False) == 0
