"""Resources of this machine: CPU threads, memory, and the number of layers that fit on its GPUs. Loads nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil

from rstitch_local.errors import ModelError
from rstitch_local.llama import library
from rstitch_local.llama.gguf_check import GgufSummary
from rstitch_local.sanitize import human_bytes

TINY_MODEL_BYTES = 64 << 20
"""Smaller models run fastest on one thread: waking a second one costs more than it saves."""

_GPU_RESERVE_BYTES = 512 << 20
"""GPU memory left free for compute buffers and the desktop."""

_WORK_BYTES = 96 << 20
"""Compute memory of a model besides the logits, measured with models of 0.5 to 1.5 B (docs/performance.md)."""

_CELL_BYTES = 64
"""Bytes per KV cell that llama.cpp needs besides keys and values, roughly."""

_CACHE_SHARES = {"f16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64}
"""Size of a KV cache relative to f16: 32 values in 34 or 18 bytes instead of 64."""


def cache_bytes(kv_bytes_per_token: int, tokens: int, kv_type: str) -> int:
    """Return the memory of one model's KV cache.

    Args:
        kv_bytes_per_token: bytes of keys and values per token, at f16.
        tokens: tokens the cache holds.
        kv_type: its precision: f16, q8_0 or q4_0.
    """
    return int(tokens * (kv_bytes_per_token * _CACHE_SHARES[kv_type] + _CELL_BYTES))


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Memory of a loaded pair in bytes: its files, both KV caches, and llama.cpp's compute buffers."""

    weights: int
    caches: int
    work: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.caches + self.work


def predict_memory(summaries: Iterable[GgufSummary], kv_cells: int, sequences: int, kv_type: str) -> MemoryNeed:
    """Predict the memory of a loaded pair.

    Args:
        summaries: summaries of both files.
        kv_cells: tokens each KV cache holds, all sequences together.
        sequences: number of sequences.
        kv_type: precision of the KV caches.
    """
    weights = caches = work = 0
    for summary in summaries:
        weights += summary.file_size
        caches += cache_bytes(summary.kv_bytes_per_token, kv_cells, kv_type)
        # Logits of every sequence, twice: as computed, and as returned.
        work += _WORK_BYTES + 2 * 4 * sequences * summary.vocabulary_size
    return MemoryNeed(weights, caches, work)


def free_memory_bytes() -> int:
    """Return the memory that is available without swapping."""
    return int(psutil.virtual_memory().available)


def require_memory(needed_bytes: int) -> None:
    """Raise ModelError if KV caches of this size exceed the free memory.

    llama.cpp would get the memory, and the system would kill the process when it is written to.
    """
    free = free_memory_bytes()
    if needed_bytes > free:
        raise ModelError(
            "Not enough memory",
            f"The KV caches need {human_bytes(needed_bytes)}, {human_bytes(free)} are free.",
            "Use a smaller --context, or `--kv-type q8_0`.",
        )


AUTO_SEQUENCES = 16
"""Default number of sequences: more hardly reduce the cost per token (docs/performance.md)."""

_CACHE_SHARE = 0.5
"""Share of the free memory that KV caches may use if their size is not given."""

_OVERCOMMIT = 4
"""Sequences per full context that fits: a typical answer fills a quarter of its context."""


def plan_slots(bytes_per_token: int, context: int, free_bytes: int, sequences: int | None = None) -> tuple[int, int]:
    """Choose the number of sequences and of KV cells.

    Args:
        bytes_per_token: memory of one token in both KV caches.
        context: tokens one sequence can hold.
        free_bytes: free memory, for KV caches and everything else that is still to be allocated.
        sequences: the number of sequences, if it is given.

    Returns:
        (sequences, kv_cells); kv_cells is at least `context`, whether that fits or not.
    """
    capacity = int(free_bytes * _CACHE_SHARE) // bytes_per_token
    count = sequences or AUTO_SEQUENCES
    kv_cells = max(context, min(count * context, capacity))
    return sequences or max(1, min(count, _OVERCOMMIT * kv_cells // context)), kv_cells


def default_threads(weights_bytes: int) -> int:
    """Return the number of CPU threads for a model: the physical cores this process may use, or 1 for a tiny model.

    Only one model is evaluated at a time, so each gets all cores. The threads of a tiny model would spend more time on
    synchronization than they save, above all on a busy machine.
    """
    if weights_bytes < TINY_MODEL_BYTES:
        return 1
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, usable))


def batch_size(gpu_layers: int, sequences: int = 1) -> int:
    """Return the number of tokens in one `llama_decode`.

    On a CPU larger batches than 64 tokens do not reduce the cost per token, and interrupts are only noticed between
    batches. With many sequences, larger batches finish their prompts sooner, so that they decode together.
    """
    if gpu_layers:
        return 512
    return min(max(64, 16 * sequences), 256)


def free_gpu_bytes(*, shared: bool = True) -> int:
    """Return the free memory of the GPUs that this build of llama.cpp can use, in bytes.

    Args:
        shared: whether to count GPUs that use the main memory (integrated GPUs, and those of a Mac).
    """
    if not shared and sys.platform == "darwin":
        return 0
    kinds = ("gpu", "igpu") if shared else ("gpu",)
    return sum(device.free_bytes for device in library.devices() if device.kind in kinds)


@dataclass(frozen=True, slots=True)
class Demand:
    """Memory that one model needs on a GPU.

    layers: number of layers, output layer included.
    layer_bytes: bytes per layer, for weights and its part of the KV cache.
    """

    layers: int
    layer_bytes: int


def fit_layers(demands: Sequence[Demand], free_bytes: int) -> list[int]:
    """Return how many layers of each model fit on the GPU.

    The SLM should come first: it is evaluated more often, so its layers save more time on the GPU.

    Args:
        demands: the models, highest priority first.
        free_bytes: free memory of all GPUs together.
    """
    capacity = max(0, free_bytes - _GPU_RESERVE_BYTES)
    counts = []
    for demand in demands:
        count = min(demand.layers, capacity // max(1, demand.layer_bytes))
        capacity -= count * demand.layer_bytes
        counts.append(count)
    return counts
