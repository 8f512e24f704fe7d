"""What this machine offers a pair: CPU threads, memory, and how many layers of each model fit on its GPUs.

Knows sizes and counts; loads nothing.
"""

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
"""Models below this run fastest on one thread: waking a second one costs more than it computes."""

_GPU_RESERVE_BYTES = 512 << 20
"""Left free on a GPU for compute buffers and the desktop."""


_WORK_BYTES = 96 << 20
"""Memory a model's computation takes besides the logits, measured on models of 0.5 to 1.5 B (docs/performance.md)."""

_CELL_BYTES = 64
"""What llama.cpp keeps of every token in a cache besides its keys and values, roughly."""

_CACHE_SHARES = {"f16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64}
"""Size of a cache by its precision, against f16: 32 values in 34 or 18 bytes instead of 64."""


def cache_bytes(kv_bytes_per_token: int, tokens: int, kv_type: str) -> int:
    """Memory of one model's cache of that many tokens; `kv_bytes_per_token` is for f16."""
    return int(tokens * (kv_bytes_per_token * _CACHE_SHARES[kv_type] + _CELL_BYTES))


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Memory a pair takes, in bytes: its files, the cells of both caches, and what llama.cpp computes in."""

    weights: int
    caches: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.caches + self.work


def predict_memory(summaries: Iterable[GgufSummary], kv_cells: int, sequences: int, kv_type: str) -> MemoryNeed:
    """What a pair will take.

    Args:
        summaries: of both files.
        kv_cells: tokens each cache holds, all sequences together.
        sequences: trajectories at once.
        kv_type: cache precision.
    """
    weights = caches = work = 0
    for summary in summaries:
        weights += summary.file_size
        caches += cache_bytes(summary.kv_bytes_per_token, kv_cells, kv_type)
        # Logits of every sequence: as llama.cpp computes them, and as it hands them out.
        work += _WORK_BYTES + 2 * 4 * sequences * summary.vocabulary_size
    return MemoryNeed(weights, caches, work)


def free_memory_bytes() -> int:
    """Memory of the machine that can be had now without swapping."""
    return int(psutil.virtual_memory().available)


def require_memory(needed_bytes: int) -> None:
    """Raise ModelError where caches of this size do not fit into the memory that is free now.

    llama.cpp would be given the memory and the system would end the process when it is written to.
    """
    free = free_memory_bytes()
    if needed_bytes > free:
        raise ModelError(
            "Not enough memory",
            f"The caches need {human_bytes(needed_bytes)}, {human_bytes(free)} are free.",
            "Use a smaller --context, or `--kv-type q8_0`.",
        )


AUTO_SEQUENCES = 16
"""Trajectories at once where nobody says how many: beyond it a token hardly gets cheaper (docs/performance.md)."""

_CACHE_SHARE = 0.5
"""Share of the free memory that caches may take where nobody says how many trajectories there shall be."""

_TYPICAL_SHARE = 4
"""An answer is taken to fill a quarter of the context: there are slots for four times what would fit in full."""


def plan_slots(bytes_per_token: int, context: int, free_bytes: int, sequences: int | None = None) -> tuple[int, int]:
    """How many trajectories at once, and how many tokens their cells hold together.

    Args:
        bytes_per_token: of the caches together.
        context: tokens one trajectory can fill, at the most.
        free_bytes: memory there is for caches and everything else that is still to come.
        sequences: the number of trajectories, if somebody says so; else it follows from the memory.

    Returns:
        (sequences, kv_cells); the cells suffice for one whole context at least, whether that fits or not.
    """
    room = int(free_bytes * _CACHE_SHARE) // bytes_per_token
    wanted = sequences or AUTO_SEQUENCES
    kv_cells = max(context, min(wanted * context, room))
    return sequences or max(1, min(wanted, _TYPICAL_SHARE * kv_cells // context)), kv_cells


def default_threads(weights_bytes: int) -> int:
    """CPU threads for a model: the physical cores this process may use, 1 for a tiny one.

    Both models take turns, so each gets all of them. Threads of a tiny model wait for each other at every turn, which
    on a machine that does anything else costs more than they bring.
    """
    if weights_bytes < TINY_MODEL_BYTES:
        return 1
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, usable))


def batch_size(gpu_layers: int, sequences: int = 1) -> int:
    """Tokens in one `llama_decode` of a model.

    On a CPU a batch of 64 tokens costs as much a token as a larger one, and a stop is noticed between batches. Where
    many sequences wait for their prompts, larger ones let them write together sooner.
    """
    if gpu_layers:
        return 512
    return min(max(64, 16 * sequences), 256)


def free_gpu_bytes(*, shared: bool = True) -> int:
    """Free memory of the GPUs this build of llama.cpp can use, in bytes; `shared` counts the machine's own memory too.

    Integrated GPUs use that, and so do all of a Mac's.
    """
    if not shared and sys.platform == "darwin":
        return 0
    kinds = ("gpu", "igpu") if shared else ("gpu",)
    return sum(device.free_bytes for device in library.devices() if device.kind in kinds)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one model asks of a GPU: its number of layers (with the output layer), and bytes for each.

    layer_bytes counts a layer's weights and its part of the cache.
    """

    layers: int
    layer_bytes: int


def fit_layers(demands: Sequence[Demand], free_bytes: int) -> list[int]:
    """How many layers of each model go to the GPU, the first model served first.

    The SLM comes first: it runs at every token, so a layer of it on the GPU saves more than one of the LLM.

    Args:
        demands: the models, most important first.
        free_bytes: free memory on all GPUs together.
    """
    room = max(0, free_bytes - _GPU_RESERVE_BYTES)
    counts = []
    for demand in demands:
        count = min(demand.layers, room // max(1, demand.layer_bytes))
        room -= count * demand.layer_bytes
        counts.append(count)
    return counts
