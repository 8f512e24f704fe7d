"""Measuring a pair, keeping what was measured, and refusing what was measured elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_pair import TinyPair

from rstitch_local import paths
from rstitch_local.costs import calibration
from rstitch_local.costs.calibration import measure
from rstitch_local.costs.latency import Formula, ModelLatency, PairLatency
from rstitch_local.costs.store import (
    calibration_key,
    load_calibration,
    path_of,
    read_calibration,
    store_calibration,
    stored_latency,
)
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import CancelledError, EngineError, InputError, ModelError, StorageError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded

MODEL = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 1, 2), decode=(0, 3)))
LATENCY = PairLatency(slm=MODEL, llm=MODEL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with open_pair(tiny_pair) as loaded:
        yield loaded


def open_pair(files: TinyPair, **options: Any) -> Pair:
    return load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(**options))


def test_measuring_covers_the_sizes_that_occur(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_MOST", 3)
    shares: list[float] = []
    latency = measure(pair, seconds=30, progress=shares.append)
    for role in Role:
        model, context = latency.of(role), pair.contexts[role]
        assert model.table is not None
        assert model.n_batch == context.n_batch == 64
        assert model.table.batches == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 64)
        # The context holds 512, the last batch of which begins after 448.
        assert model.table.depths == (0, 448)
        assert all(ms > 0 for row in model.table.costs for ms in row)
        assert model.formula_error is not None
        assert model.table_error is not None
        assert model.outside_ms > 0
        assert context.length() == 0
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    # The pair is free for an answer.
    assert sum(1 for _ in pair.ask("Well?", max_tokens=5)) == 5


def test_it_finds_what_evaluations_cost(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model whose evaluations take as long as they are said to."""
    monkeypatch.setattr(calibration, "_MOST", 2)
    known = Formula(prefill=(1e-3, 0, 0.5, 2), decode=(1e-3, 3))
    decode = Context.decode

    def timed(self: Context, parts: Sequence[BatchSlice], **options: Any) -> Decoded:
        length, count = self.length(), len(parts[0].ids)
        return decode(self, parts, **options)._replace(ns=[round(known.ms(count, length) * 1e6)])

    monkeypatch.setattr(Context, "decode", timed)
    latency = measure(pair, seconds=30)
    for role in Role:
        model = latency.of(role)
        assert model.formula.prefill == pytest.approx(known.prefill, rel=1e-3, abs=1e-4)
        assert model.ms(20, 200) == pytest.approx(known.ms(20, 200), rel=1e-2)
        assert model.ms(1, 200) == pytest.approx(known.ms(1, 200), rel=1e-2)
        assert model.error is not None
        assert model.error < 0.01


def test_without_time_only_the_least_is_measured(pair: Pair) -> None:
    latency = measure(pair, seconds=1e-6)
    assert latency.slm.table is not None
    assert latency.slm.table.depths == (0, 256)


def test_a_context_of_one_batch(tiny_pair: TinyPair) -> None:
    with open_pair(tiny_pair, context=200) as small:
        assert measure(small, seconds=1e-6).llm.table is not None
    with open_pair(tiny_pair, context=32) as tiny, pytest.raises(InputError, match="too long"):
        measure(tiny, seconds=1e-6)


def test_measuring_can_be_stopped(pair: Pair) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 30

    with pytest.raises(CancelledError):
        measure(pair, should_stop=stop)
    assert asked == 31
    assert [context.length() for context in pair.contexts.values()] == [0, 0]


def test_a_pair_at_work_is_not_measured(pair: Pair) -> None:
    steps = iter(pair.ask("Well?", max_tokens=5))
    next(steps)
    held = [list(context.tokens()) for context in pair.contexts.values()]
    with pytest.raises(EngineError, match="busy"):
        measure(pair)
    assert [list(context.tokens()) for context in pair.contexts.values()] == held
    steps.close()


def test_stored_and_found_again(home: Path, pair: Pair) -> None:
    path = store_calibration(pair, LATENCY)
    assert path.parent == home / "cache" / "calibrations" == paths.calibrations_dir()
    found = load_calibration(pair)
    assert found.latency == LATENCY
    assert found.key == calibration_key(pair)
    assert found.created.startswith("20")
    assert stored_latency(pair) == LATENCY
    # Again: it takes the old one's place.
    other = PairLatency(slm=MODEL, llm=MODEL.model_copy(update={"outside_ms": 1.0}))
    assert store_calibration(pair, other) == path
    assert load_calibration(pair).latency == other
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_each_way_of_loading_has_its_own(home: Path, pair: Pair, tiny_pair: TinyPair) -> None:
    store_calibration(pair, LATENCY)
    with open_pair(tiny_pair, context=256, threads=1, kv_type="q8_0") as other:
        with pytest.raises(ModelError, match="not as it is loaded") as caught:
            load_calibration(other)
        assert stored_latency(other) is None
        assert "SLM context was 512, is 256" in caught.value.message
        assert "LLM cache type was f16, is q8_0" in caught.value.message
        assert "rstitch calibrate" in caught.value.hint
        store_calibration(other, LATENCY)
        assert load_calibration(other).latency == LATENCY
    assert load_calibration(pair).latency == LATENCY
    assert len(list((home / "cache" / "calibrations").iterdir())) == 2


def test_a_pair_for_many_answers_at_once_goes_by_the_same(home: Path, pair: Pair, tiny_pair: TinyPair) -> None:  # noqa: ARG001
    store_calibration(pair, LATENCY)
    with open_pair(tiny_pair, sequences=4) as many:
        assert stored_latency(many) == LATENCY
    with open_pair(tiny_pair, sequences=4, threads=7) as other:
        assert stored_latency(other) is None


def test_there_is_none(home: Path, pair: Pair) -> None:  # noqa: ARG001
    with pytest.raises(ModelError, match="was not measured on this machine yet") as caught:
        load_calibration(pair)
    assert "rstitch calibrate" in caught.value.hint
    assert stored_latency(pair) is None


def test_of_another_machine(home: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    path = store_calibration(pair, LATENCY)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 96)  # noqa: ARG005
    with pytest.raises(ModelError, match=r"cores was \d+, is 96\."):
        load_calibration(pair)
    assert stored_latency(pair) is None
    # Carried over by hand, under the name that this machine's would have.
    key = calibration_key(pair)
    assert key is not None
    shutil.copy(path, path_of(key))
    with pytest.raises(ModelError, match=r"made for something else: cores was \d+, is 96\."):
        load_calibration(pair)
    assert stored_latency(pair) is None


def test_of_another_file(home: Path, pair: Pair, tmp_path: Path, tiny_pair: TinyPair) -> None:  # noqa: ARG001
    store_calibration(pair, LATENCY)
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(tiny_pair.llm.read_bytes() + b"\0")
    with load_pair(slm=tiny_pair.slm, llm=changed) as other:
        # Its sum is not known, so no calibration can be of it; and nothing reads gigabytes to find that out.
        assert calibration_key(other, read_files=False) is None
        assert stored_latency(other) is None
        with pytest.raises(ModelError, match="was not measured"):
            load_calibration(other)
        changed.unlink()
        with pytest.raises(ModelError, match="cannot be read"):
            calibration_key(other)
        assert stored_latency(other) is None


BREAK: list[Callable[[dict[str, Any]], object]] = [
    lambda record: record.pop("latency"),
    lambda record: record.update(format=99),
    lambda record: record.update(key=[]),
    lambda record: record["latency"]["slm"].update(n_batch=-1),
    lambda record: record["latency"]["slm"]["formula"].update(decode="\x1b[31m"),
]


@pytest.mark.parametrize("change", BREAK)
def test_a_broken_one(home: Path, pair: Pair, change: Callable[[dict[str, Any]], object]) -> None:  # noqa: ARG001
    path = store_calibration(pair, LATENCY)
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="cannot be used") as caught:
        load_calibration(pair)
    assert path.name in caught.value.message
    assert "\x1b" not in str(caught.value)
    assert "rstitch calibrate" in caught.value.hint
    assert stored_latency(pair) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)])
def test_no_calibration_at_all(home: Path, pair: Pair, data: bytes) -> None:  # noqa: ARG001
    path = store_calibration(pair, LATENCY)
    path.write_bytes(data)
    with pytest.raises(ModelError, match="cannot be used"):
        read_calibration(path)
    assert stored_latency(pair) is None
    store_calibration(pair, LATENCY)
    assert stored_latency(pair) == LATENCY


def test_one_that_is_too_large(home: Path, pair: Pair) -> None:  # noqa: ARG001
    path = store_calibration(pair, LATENCY)
    path.write_bytes(path.read_bytes() + b" " * (1 << 20))
    with pytest.raises(ModelError, match="too large"):
        read_calibration(path)


def test_a_folder_that_cannot_be_written(home: Path, pair: Pair) -> None:
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "calibrations").write_text("in the way")
    with pytest.raises(StorageError, match="Cannot write calibration"):
        store_calibration(pair, LATENCY)


def test_half_a_file_is_never_left(home: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    path = store_calibration(pair, LATENCY)
    before = path.read_bytes()

    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store_calibration(pair, LATENCY)
    assert path.read_bytes() == before
