"""Whether a pair fits into the memory of the machine and its GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.catalog.store import FileState, FileStatus, PairState
from rstitch_tui.machine_fit import Fit, Memory, describe_fit, fit, memory_now, needed_bytes

GB = 1_000_000_000
MACHINE = Memory(10 * GB, 16 * GB)


@pytest.mark.parametrize(
    ("needed", "expected"),
    [(0, Fit.FITS), (8 * GB, Fit.FITS), (8 * GB + 1, Fit.TIGHT), (10 * GB, Fit.TIGHT), (10 * GB + 1, Fit.TOO_LARGE)],
)
def test_fit_thresholds(needed: int, expected: Fit) -> None:
    assert fit(needed, MACHINE) is expected


def test_fit_counts_freed_and_gpu_memory() -> None:
    assert fit(12 * GB, MACHINE) is Fit.TOO_LARGE
    assert fit(12 * GB, MACHINE, freed=5 * GB) is Fit.FITS
    assert fit(12 * GB, Memory(10 * GB, 16 * GB, gpu_free=8 * GB)) is Fit.FITS
    assert fit(None, MACHINE) is Fit.UNKNOWN


def test_each_fit_has_its_own_description() -> None:
    texts = [describe_fit(needed, MACHINE) for needed in (None, GB, 9 * GB, 12 * GB, 17 * GB)]
    assert len(set(texts)) == 5
    assert "unknown" in texts[0]
    assert "1.00 GB of memory, which fits" in texts[1]
    assert "Close other programs" in texts[2]
    assert "Close other programs" in texts[3]
    assert "more than this machine has" in texts[4]


def test_memory_now() -> None:
    memory = memory_now(7)
    assert 0 < memory.free <= memory.total
    assert memory.gpu_free == 7
    assert str(Memory(GB, 2 * GB, 3 * GB)) == "1.00 GB of 2.00 GB memory free, 3.00 GB on the GPU"
    assert str(Memory(GB, 2 * GB)) == "1.00 GB of 2.00 GB memory free"


def test_needed_bytes_from_the_catalog_or_the_files() -> None:
    files = [ModelFile(file=f"{name}.gguf", path=name) for name in ("a", "b")]

    def state(file: ModelFile, size: int, expected: int | None) -> FileState:
        return FileState(file, Path(file.file), FileStatus.MISSING, size, expected)

    entry = PairEntry(name="x", slm=files[0], llm=files[1])
    pair = PairState(state(files[0], 5, None), state(files[1], 0, 7))
    assert needed_bytes(entry, pair) == 12
    assert needed_bytes(entry, PairState(pair.slm, state(files[1], 0, None))) is None
    assert needed_bytes(entry.model_copy(update={"memory_gb": 1.8}), pair) == 1_800_000_000
