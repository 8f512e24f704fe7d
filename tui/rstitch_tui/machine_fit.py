"""Whether a pair fits into the memory of this machine.

Free GPU memory is measured elsewhere and passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import psutil

from rstitch_local.catalog.schema import PairEntry
from rstitch_local.catalog.store import PairState
from rstitch_local.sanitize import human_bytes

_TIGHT_ABOVE = 0.8
"""Share of the free memory above which a pair fits only tightly."""


class Fit(StrEnum):
    """How a pair fits into the free memory."""

    FITS = "fits"
    TIGHT = "tight"
    TOO_LARGE = "too large"
    UNKNOWN = "size unknown"


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine and free memory of its GPUs, in bytes."""

    free: int
    total: int
    gpu_free: int = 0

    def __str__(self) -> str:
        cards = f", {human_bytes(self.gpu_free)} on the GPU" if self.gpu_free else ""
        return f"{human_bytes(self.free)} of {human_bytes(self.total)} memory free{cards}"


def memory_now(gpu_free: int = 0) -> Memory:
    """Return the current memory; `gpu_free` is the free GPU memory in bytes."""
    memory = psutil.virtual_memory()
    return Memory(memory.available, memory.total, gpu_free)


def needed_bytes(entry: PairEntry, state: PairState) -> int | None:
    """Return the memory a pair needs: from the catalog, else the size of its files; None if unknown."""
    if entry.memory_gb is not None:
        return int(entry.memory_gb * 1e9)
    sizes = [file.expected_size or file.size for file in (state.slm, state.llm)]
    return sum(sizes) if all(sizes) else None


def fit(needed: int | None, memory: Memory, *, freed: int = 0) -> Fit:
    """Return how a pair fits.

    Args:
        needed: memory it needs, in bytes.
        memory: the memory of the machine.
        freed: memory of the loaded pair, which is unloaded first.
    """
    if needed is None:
        return Fit.UNKNOWN
    available = memory.free + memory.gpu_free + freed
    if needed > available:
        return Fit.TOO_LARGE
    return Fit.TIGHT if needed > _TIGHT_ABOVE * available else Fit.FITS


def describe_fit(needed: int | None, memory: Memory, *, freed: int = 0) -> str:
    """Describe how a pair fits, with advice if it does not."""
    if needed is None:
        return "Memory need unknown."
    need = f"Needs {human_bytes(needed)} of memory"
    match fit(needed, memory, freed=freed):
        case Fit.FITS:
            return f"{need}, which fits."
        case Fit.TIGHT:
            return f"{need}, nearly all of the free memory. Close other programs first."
        case _ if needed <= memory.total + memory.gpu_free:
            return f"{need}, more than is free. Close other programs first."
        case _:
            return f"{need}, more than this machine has."
