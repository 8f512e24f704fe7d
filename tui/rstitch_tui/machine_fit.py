"""Whether a pair fits into the memory of this machine.

Knows sizes only: what is free on GPUs is told by who has asked llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import psutil

from rstitch_local.catalog.schema import PairEntry
from rstitch_local.catalog.store import PairState
from rstitch_local.sanitize import human_bytes

_TIGHT_ABOVE = 0.8
"""A pair that takes more than this share of what is free leaves little for anything else."""


class Fit(StrEnum):
    """How a pair fits into what is free."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "too large"
    UNKNOWN = "size unknown"


class Device(Protocol):
    """What is needed to know of a device; `llama.library.Device` is one."""

    @property
    def kind(self) -> str:
        """Cpu, gpu, igpu or accel."""
        ...

    @property
    def free_bytes(self) -> int:
        """Its free memory."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine and of its graphics cards, in bytes."""

    free: int
    total: int
    gpu_free: int = 0

    def __str__(self) -> str:
        """For a heading."""
        cards = f", {human_bytes(self.gpu_free)} on the GPU" if self.gpu_free else ""
        return f"{human_bytes(self.free)} of {human_bytes(self.total)} memory free{cards}"


def memory_now(gpu_free: int = 0) -> Memory:
    """The memory there is right now; `gpu_free` as `gpu_memory` found it."""
    found = psutil.virtual_memory()
    return Memory(found.available, found.total, gpu_free)


def needed_bytes(entry: PairEntry, found: PairState) -> int | None:
    """What a pair takes: weights and caches as the catalogue says, or else the files alone; None if not known."""
    if entry.memory_gb is not None:
        return int(entry.memory_gb * 1e9)
    sizes = [file.expected_size or file.size for file in (found.slm, found.llm)]
    return sum(sizes) if all(sizes) else None


def fit(needed: int | None, memory: Memory, *, freed: int = 0) -> Fit:
    """How a pair fits.

    Args:
        needed: what it takes.
        memory: what there is.
        freed: what the pair that is loaded takes, which is freed first.
    """
    if needed is None:
        return Fit.UNKNOWN
    room = memory.free + memory.gpu_free + freed
    if needed > room:
        return Fit.TOO_LARGE
    return Fit.TIGHT if needed > _TIGHT_ABOVE * room else Fit.FITS


def sentence(needed: int | None, memory: Memory, *, freed: int = 0) -> str:
    """The same in a sentence, with what to do about it."""
    if needed is None:
        return "How much memory it needs is not known."
    what = f"Needs {human_bytes(needed)} of memory"
    match fit(needed, memory, freed=freed):
        case Fit.FITS:
            return f"{what}, which fits."
        case Fit.TIGHT:
            return f"{what}, nearly all that is free: close other programs first."
        case _ if needed <= memory.total + memory.gpu_free:
            return f"{what}, more than is free now: close other programs first."
        case _:
            return f"{what}, more than this machine has."
