"""Locations and states of files, and cached checksums."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from rstitch_local import paths
from rstitch_local.catalog import checksums, download, store, transfer
from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import ModelError, StorageError

CONTENT = b"a model"
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))


def on_disk(file: ModelFile, content: bytes = CONTENT) -> Path:
    path = store.path_of(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pair(file: ModelFile, name: str = "mine") -> PairEntry:
    return PairEntry(name=name, slm=file, llm=file)


def test_locations() -> None:
    entry = load_catalog().get("r1-7b")
    assert store.path_of(entry.slm).parent == (paths.models_dir() / "bartowski--DeepSeek-R1-Distill-Qwen-1.5B-GGUF")
    builtin = ModelFile(file="demo-slm.gguf", builtin="demo-slm.gguf")
    assert store.path_of(builtin).parent.name == "builtin"
    assert not store.fetchable(builtin)


def test_file_states() -> None:
    file = ModelFile(file="a.gguf", repo="acme/a", size=len(CONTENT), sha256=SUM)
    assert store.file_state(file).status is store.FileStatus.MISSING
    path = on_disk(file)
    assert store.file_state(file).status is store.FileStatus.ON_DISK
    on_disk(file, b"a")
    assert store.file_state(file).status is store.FileStatus.WRONG_SIZE
    path.unlink()
    path.with_name("a.gguf.0123.partial").write_bytes(b"abc")
    state = store.file_state(file)
    assert (state.status, state.size, state.expected_size) == (store.FileStatus.PARTIAL, 3, len(CONTENT))
    with pytest.raises(ModelError, match="only partly downloaded"):
        store.locate(pair(file))


def test_missing_pair_has_a_hint() -> None:
    with pytest.raises(ModelError) as caught:
        store.locate(load_catalog().get("qwen3-8b"))
    assert caught.value.title == "Pair not on disk"
    assert "rstitch pull qwen3-8b" in caught.value.hint


def test_local_path_is_used_in_place(tmp_path: Path) -> None:
    local = tmp_path / "mine.gguf"
    file = ModelFile(file="a.gguf", path=str(local), sha256=SUM)
    with pytest.raises(ModelError, match="does not exist"):
        store.locate(pair(file))
    with pytest.raises(ModelError, match="does not exist"):
        download.pull_file(file)
    local.write_bytes(CONTENT)
    assert store.locate(pair(file)).slm == local
    assert download.pull_file(file) == local
    local.write_bytes(b"another")
    with pytest.raises(ModelError, match="SHA-256"):
        store.locate(pair(file))
    with pytest.raises(ModelError, match="is not the file of the catalog"):
        download.pull_file(file)
    assert local.read_bytes() == b"another"


def test_missing_local_path_falls_back_to_the_models_folder(tmp_path: Path) -> None:
    file = ModelFile(file="a.gguf", path=str(tmp_path / "gone.gguf"), repo="acme/a", sha256=SUM)
    path = on_disk(file)
    assert path.is_relative_to(paths.models_dir())
    assert store.locate(pair(file)).slm == path


def test_default_pair_is_the_first_on_disk() -> None:
    assert store.default_pair(load_catalog()).name == "demo"
    with pytest.raises(ModelError, match="No pair on disk"):
        store.default_pair(entry for entry in load_catalog() if entry.name != "demo")
    first = pair(ModelFile(file="a.gguf", repo="acme/a"), "first")
    second = pair(ModelFile(file="b.gguf", repo="acme/b"), "second")
    on_disk(second.slm)
    assert store.default_pair([first, second]).name == "second"
    on_disk(first.slm)
    assert store.default_pair([first, second]).name == "first"


def test_download_record_belongs_to_one_revision() -> None:
    file = ModelFile(file="a.gguf", repo="acme/a")
    on_disk(file)
    store.record_download(file, SUM, len(CONTENT))
    assert store.expected_sha256(file) == SUM
    assert store.expected_sha256(file.model_copy(update={"revision": "v2"})) is None
    store.path_of(file).with_name("a.gguf.json").write_text("[]")
    assert store.expected_sha256(file) is None


def test_checksum_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(CONTENT)
    read: list[int] = []
    assert checksums.cached_sha256(path) is None
    assert checksums.sha256_of(path, on_block=read.append) == SUM
    assert checksums.sha256_of(path, on_block=read.append) == SUM
    assert read == [len(CONTENT)]
    path.write_bytes(b"b model")
    os.utime(path, ns=(1, 1))
    assert checksums.sha256_of(path) == hashlib.sha256(b"b model").hexdigest()
    # A cache that is damaged or cannot be written is ignored.
    cache = paths.cache_dir() / "checksums.json"
    assert json.loads(cache.read_text())
    cache.write_text("{broken")
    assert checksums.sha256_of(path) == hashlib.sha256(b"b model").hexdigest()
    monkeypatch.setenv("RSTITCH_HOME", str(path))
    assert checksums.sha256_of(path) == hashlib.sha256(b"b model").hexdigest()


def test_partial_file_continues_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.partial"
    with transfer.PartialFile(path) as out:
        out.append(b"0123456789")
    with transfer.PartialFile(path, keep_bytes=4) as out:
        assert out.size == 4
        out.append(b"x")
        assert out.sha256 == hashlib.sha256(b"0123x").hexdigest()
    assert path.read_bytes() == b"0123x"
    with pytest.raises(StorageError), transfer.PartialFile(tmp_path):
        pass
