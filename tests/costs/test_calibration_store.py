"""Stored calibrations: round trip, and refusal of those measured with other files, settings or machines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_pair import TinyPair

from rstitch_local import paths
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.store import (
    calibration_key,
    calibration_path,
    load_calibration,
    read_calibration,
    store_calibration,
    stored_latency,
)
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import ModelError, StorageError

MODEL = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 1, 2), decode=(0, 3)))
LATENCY = PairLatency(slm=MODEL, llm=MODEL)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Iterator[Pair]:
    with open_pair(tiny_pair) as loaded:
        yield loaded


def open_pair(files: TinyPair, **options: Any) -> Pair:
    return load_pair(slm=files.slm, llm=files.llm, options=LoadOptions(**options))


def test_a_stored_calibration_is_loaded(home: Path, pair: Pair) -> None:
    stored = store_calibration(pair, LATENCY)
    assert stored.path.parent == home / "cache" / "calibrations" == paths.calibrations_dir()
    assert load_calibration(pair) == stored
    assert stored.latency == LATENCY
    assert stored.key == calibration_key(pair)
    assert stored.created.startswith("20")
    assert stored_latency(pair) == LATENCY
    assert "n_batch" not in repr(stored)
    # A second one replaces it.
    other = PairLatency(slm=MODEL, llm=MODEL.model_copy(update={"outside_ms": 1.0}))
    assert store_calibration(pair, other).path == stored.path
    assert load_calibration(pair).latency == other
    assert [file.name for file in stored.path.parent.iterdir()] == [stored.path.name]


def test_the_json_keys_are_those_of_version_0_1(pair: Pair) -> None:
    record = json.loads(store_calibration(pair, LATENCY).path.read_bytes())
    assert list(record) == ["format", "pair", "created", "key", "latency"]
    assert set(record["latency"]["slm"]) == {
        "n_batch", "formula", "outside_ms", "table", "formula_error", "table_error",
    }  # fmt: skip


def test_each_set_of_load_options_has_its_own_calibration(home: Path, pair: Pair, tiny_pair: TinyPair) -> None:
    store_calibration(pair, LATENCY)
    with open_pair(tiny_pair, context=256, threads=1, kv_type="q8_0") as other:
        with pytest.raises(ModelError, match="only with other settings") as caught:
            load_calibration(other)
        assert stored_latency(other) is None
        assert "SLM context was 512, is 256" in caught.value.message
        assert "LLM cache type was f16, is q8_0" in caught.value.message
        assert "rstitch calibrate" in caught.value.hint
        store_calibration(other, LATENCY)
        assert load_calibration(other).latency == LATENCY
    assert load_calibration(pair).latency == LATENCY
    assert len(list((home / "cache" / "calibrations").iterdir())) == 2


def test_the_number_of_sequences_does_not_matter(pair: Pair, tiny_pair: TinyPair) -> None:
    store_calibration(pair, LATENCY)
    with open_pair(tiny_pair, sequences=4) as many:
        assert stored_latency(many) == LATENCY
    with open_pair(tiny_pair, sequences=4, threads=7) as other:
        assert stored_latency(other) is None


def test_without_a_calibration(pair: Pair) -> None:
    with pytest.raises(ModelError, match="has not been measured on this machine") as caught:
        load_calibration(pair)
    assert "rstitch calibrate" in caught.value.hint
    assert stored_latency(pair) is None


def test_a_calibration_of_another_machine_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_calibration(pair, LATENCY).path
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 96)  # noqa: ARG005
    with pytest.raises(ModelError, match=r"cores was \d+, is 96\."):
        load_calibration(pair)
    assert stored_latency(pair) is None
    # Copied by hand, under the name it has on this machine.
    key = calibration_key(pair)
    assert key is not None
    shutil.copy(path, calibration_path(key))
    with pytest.raises(ModelError, match=r"with other settings: cores was \d+, is 96\."):
        load_calibration(pair)
    assert stored_latency(pair) is None


def test_a_calibration_of_another_file_is_refused(pair: Pair, tmp_path: Path, tiny_pair: TinyPair) -> None:
    store_calibration(pair, LATENCY)
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(tiny_pair.llm.read_bytes() + b"\0")
    with load_pair(slm=tiny_pair.slm, llm=changed) as other:
        # Its hash is not cached, so no calibration of it exists, and the file is not read to compute the hash.
        assert calibration_key(other, read_files=False) is None
        assert stored_latency(other) is None
        with pytest.raises(ModelError, match="has not been measured"):
            load_calibration(other)
        changed.unlink()
        with pytest.raises(ModelError, match="cannot be read"):
            calibration_key(other)
        assert stored_latency(other) is None


DAMAGE: list[Callable[[dict[str, Any]], object]] = [
    lambda record: record.pop("latency"),
    lambda record: record.update(format=99),
    lambda record: record.update(key=[]),
    lambda record: record["latency"]["slm"].update(n_batch=-1),
    lambda record: record["latency"]["slm"]["formula"].update(decode="\x1b[31m"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_calibration_is_refused(pair: Pair, damage: Callable[[dict[str, Any]], object]) -> None:
    path = store_calibration(pair, LATENCY).path
    record = json.loads(path.read_bytes())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="cannot be used") as caught:
        load_calibration(pair)
    assert path.name in caught.value.message
    assert "\x1b" not in str(caught.value)
    assert "rstitch calibrate" in caught.value.hint
    assert stored_latency(pair) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)])
def test_a_file_that_is_not_a_calibration_is_refused_and_replaced(pair: Pair, data: bytes) -> None:
    path = store_calibration(pair, LATENCY).path
    path.write_bytes(data)
    with pytest.raises(ModelError, match="cannot be used"):
        read_calibration(path)
    assert stored_latency(pair) is None
    store_calibration(pair, LATENCY)
    assert stored_latency(pair) == LATENCY


def test_a_file_that_is_too_large_is_refused(pair: Pair) -> None:
    path = store_calibration(pair, LATENCY).path
    path.write_bytes(path.read_bytes() + b" " * (1 << 20))
    with pytest.raises(ModelError, match="too large"):
        read_calibration(path)


def test_a_folder_that_cannot_be_written(home: Path, pair: Pair) -> None:
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "calibrations").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="Cannot write calibration"):
        store_calibration(pair, LATENCY)


def test_a_failed_write_keeps_the_old_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_calibration(pair, LATENCY).path
    before = path.read_bytes()

    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store_calibration(pair, LATENCY)
    assert path.read_bytes() == before
