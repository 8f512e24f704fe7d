"""Whether a pair fits: memory of the machine, of its graphics cards, and what is freed first."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.catalog.store import FileState, FileStatus, PairState
from rstitch_tui.machine_fit import Fit, Memory, fit, memory_now, needed_bytes, sentence

GB = 1_000_000_000
MACHINE = Memory(10 * GB, 16 * GB)


@pytest.mark.parametrize(
    ("needed", "expected"),
    [(0, Fit.FITS), (8 * GB, Fit.FITS), (8 * GB + 1, Fit.TIGHT), (10 * GB, Fit.TIGHT), (10 * GB + 1, Fit.TOO_LARGE)],
)
def test_where_it_begins_to_be_tight(needed: int, expected: Fit) -> None:
    assert fit(needed, MACHINE) is expected


def test_what_is_freed_and_what_the_cards_have_counts() -> None:
    assert fit(12 * GB, MACHINE) is Fit.TOO_LARGE
    assert fit(12 * GB, MACHINE, freed=5 * GB) is Fit.FITS
    assert fit(12 * GB, Memory(10 * GB, 16 * GB, gpu_free=8 * GB)) is Fit.FITS
    assert fit(None, MACHINE) is Fit.UNKNOWN


def test_each_case_has_a_sentence_of_its_own() -> None:
    said = [sentence(needed, MACHINE) for needed in (None, GB, 9 * GB, 12 * GB, 17 * GB)]
    assert len(set(said)) == 5
    assert "not known" in said[0]
    assert "1.00 GB of memory, which fits" in said[1]
    assert "close other programs" in said[2]
    assert "close other programs" in said[3]
    assert "more than this machine has" in said[4]


def test_this_machine_has_memory() -> None:
    memory = memory_now(7)
    assert 0 < memory.free <= memory.total
    assert memory.gpu_free == 7
    assert str(Memory(GB, 2 * GB, 3 * GB)) == "1.00 GB of 2.00 GB memory free, 3.00 GB on the GPU"
    assert str(Memory(GB, 2 * GB)) == "1.00 GB of 2.00 GB memory free"


def test_what_a_pair_needs_is_the_catalogues_word_or_its_files() -> None:
    files = [ModelFile(file=f"{name}.gguf", path=name) for name in ("a", "b")]

    def state(file: ModelFile, size: int, wanted: int | None) -> FileState:
        return FileState(file, Path(file.file), FileStatus.MISSING, size, wanted)

    entry = PairEntry(name="x", slm=files[0], llm=files[1])
    found = PairState(state(files[0], 5, None), state(files[1], 0, 7))
    assert needed_bytes(entry, found) == 12
    assert needed_bytes(entry, PairState(found.slm, state(files[1], 0, None))) is None
    assert needed_bytes(entry.model_copy(update={"memory_gb": 1.8}), found) == 1_800_000_000
