"""Pulling from a Hub on loopback: whole, broken off and resumed, refused, wrong, full."""

from __future__ import annotations

import errno
import hashlib
import json
import random
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_hub import FakeHub
from filelock import FileLock

from rstitch_local.catalog import download, hub, store, transfer
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import CancelledError, DownloadError, ModelError, StorageError

SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(3_000_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(file: str, content: bytes | None = None, **more: Any) -> ModelFile:
    known = {} if content is None else {"size": len(content), "sha256": digest(content)}
    return ModelFile.model_validate({"file": file, "repo": "acme/models", **known, **more})


def pair(slm: ModelFile, llm: ModelFile) -> PairEntry:
    return PairEntry(name="tiny", slm=slm, llm=llm)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub, "RECONNECT_WAITS_S", (0.0, 0.0))
    files = {"acme/models/small.gguf": SMALL, "acme/models/large.gguf": LARGE}
    with FakeHub(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith((".lock", ".json", ".gguf")))


def test_both_files_arrive_whole_with_progress(fake: FakeHub) -> None:
    seen: list[tuple[str, int, int | None]] = []
    entry = pair(model("small.gguf", SMALL), model("large.gguf", LARGE))
    files = download.pull(entry, progress=lambda *told: seen.append(told))
    assert files.slm.read_bytes() == SMALL
    assert files.llm.read_bytes() == LARGE
    assert store.locate(entry) == files
    assert left_over(files.slm.parent) == []
    assert fake.bodies == [None, None]
    large = [done for name, done, total in seen if name == "large.gguf" and total == len(LARGE)]
    assert large == sorted(large)
    assert large[0] == 0
    assert large[-1] == len(LARGE)


def test_the_token_goes_to_the_hub_and_nowhere_else(fake: FakeHub) -> None:
    download.pull_file(model("small.gguf", SMALL))
    assert {auth for _, path, _, auth in fake.requests if "/resolve/" in path} == {"Bearer hf_secret"}
    assert {auth for _, path, _, auth in fake.requests if path.startswith("/store/")} == {None}


def test_a_second_pull_asks_nobody(fake: FakeHub) -> None:
    file = model("small.gguf", SMALL)
    download.pull_file(file)
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == SMALL
    assert fake.requests == []


def test_a_broken_connection_is_taken_up_again_in_the_same_pull(fake: FakeHub) -> None:
    fake.break_after = [1_500_000, None]
    assert download.pull_file(model("large.gguf", LARGE)).read_bytes() == LARGE
    assert fake.bodies == [None, "bytes=1500000-"]


def test_a_broken_off_pull_asks_only_for_the_rest_next_time(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    fake.break_after = [1_200_000, 0, 0]
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Broken off"
    assert "1200000 of 3000000 bytes" in caught.value.message
    assert store.file_state(file).status is store.FileStatus.PARTIAL
    assert store.file_state(file).size == 1_200_000
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == LARGE
    assert fake.bodies == ["bytes=1200000-"]


def test_a_store_without_ranges_sends_it_all_again(fake: FakeHub) -> None:
    fake.ranges = False
    fake.break_after = [1_200_000, None]
    assert download.pull_file(model("large.gguf", LARGE)).read_bytes() == LARGE


def test_stopping_keeps_what_is_there(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    done = 0

    def progress(name: str, count: int, total: int | None) -> None:
        nonlocal done
        del name, total
        done = count

    with pytest.raises(CancelledError):
        download.pull_file(file, progress=progress, stop=lambda: done > 1_000_000)
    kept = store.file_state(file).size
    assert 1_000_000 < kept < len(LARGE)
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == LARGE
    assert fake.bodies == [f"bytes={kept}-"]


def test_a_partial_file_with_wrong_bytes_is_thrown_away(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    fake.break_after = [1_200_000, 0, 0]
    with pytest.raises(DownloadError):
        download.pull_file(file)
    (partial,) = store.leftovers(store.path_of(file))
    partial.write_bytes(bytes(1_200_000))
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Wrong checksum"
    assert not partial.exists()
    assert download.pull_file(file).read_bytes() == LARGE


def test_another_file_than_the_catalogue_knows_is_not_even_fetched(fake: FakeHub) -> None:
    for file, title in (
        (model("small.gguf", LARGE), "Wrong size"),
        (model("small.gguf", size=len(SMALL), sha256=digest(LARGE)), "Wrong checksum"),
    ):
        with pytest.raises(DownloadError) as caught:
            download.pull_file(file)
        assert caught.value.title == title
    assert fake.bodies == []


def test_bytes_that_do_not_have_the_announced_sum(fake: FakeHub) -> None:
    fake.announce = digest(b"something else")
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model("small.gguf"))
    assert caught.value.title == "Wrong checksum"
    assert not store.path_of(model("small.gguf")).exists()


def test_an_unknown_sum_is_learned_and_checked_from_then_on(fake: FakeHub) -> None:
    file = model("small.gguf")
    entry = pair(file, file)
    path = download.pull(entry).slm
    record = json.loads(path.with_name("small.gguf.json").read_text())
    assert record == {"sha256": digest(SMALL), "size": len(SMALL), "revision": "main"}
    path.write_bytes(bytes(len(SMALL)))
    with pytest.raises(ModelError, match="sha256"):
        store.locate(entry)
    path.write_bytes(SMALL[:-1])
    with pytest.raises(ModelError, match="299999 bytes instead of 300000"):
        store.locate(entry)
    # Pulling again repairs it, and holds the Hub to what was learned.
    assert download.pull_file(file).read_bytes() == SMALL
    path.unlink()
    fake.files["acme/models/small.gguf"] = LARGE[: len(SMALL)]
    with pytest.raises(DownloadError, match="Wrong checksum"):
        download.pull_file(file)


def test_two_pairs_with_the_same_small_model_share_it(fake: FakeHub) -> None:
    slm = model("small.gguf", SMALL)
    one = PairEntry(name="one", slm=slm, llm=model("large.gguf", LARGE))
    download.pull(one)
    fake.requests.clear()
    other = PairEntry(name="other", slm=slm, llm=slm)
    assert store.state(other).ready
    download.pull(other)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (model("none.gguf"), "has no file none.gguf"),
        (model("small.gguf", repo="acme/nothing"), "no public repository acme/nothing"),
        (model("small.gguf", revision="v9"), "no revision v9"),
        (model("small.gguf", repo="acme/gated"), "its terms must be accepted first"),
    ],
)
def test_what_the_hub_refuses_is_said(fake: FakeHub, file: ModelFile, said: str) -> None:
    fake.gated = {"acme/gated"}
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert said in caught.value.message
    assert caught.value.exit_code == 5
    assert "\x1b" not in str(caught.value)


def test_a_hub_that_is_down(fake: FakeHub) -> None:
    fake.down = 503
    with pytest.raises(DownloadError, match="HTTP 503"):
        download.pull_file(model("small.gguf"))


def test_no_network_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model("small.gguf"))
    assert time.monotonic() - start < 3
    assert caught.value.title == "No connection"
    assert f"127.0.0.1:{port} cannot be reached" in caught.value.message


@pytest.mark.parametrize("endpoint", ["nonsense", "http://[", "ftp://127.0.0.1"])
def test_a_senseless_endpoint_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DownloadError):
        download.pull_file(model("small.gguf"))


def test_a_disk_that_fills_up_keeps_what_is_there(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    file = model("large.gguf", LARGE)
    write = transfer.PartialFile._write

    def full(self: transfer.PartialFile, block: bytes) -> None:
        if self.size + len(block) > 2_500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, block)

    monkeypatch.setattr(transfer.PartialFile, "_write", full)
    with pytest.raises(StorageError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Disk full"
    kept = store.file_state(file).size
    assert 0 < kept <= 2_500_000
    monkeypatch.setattr(transfer.PartialFile, "_write", write)
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == LARGE
    assert fake.bodies == [f"bytes={kept}-"]


def test_free_space_is_looked_at_first(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError) as caught:
        download.pull_file(model("large.gguf", LARGE))
    assert "70.1 MB are needed" in caught.value.message
    assert "1 MB are free" in caught.value.message
    assert fake.bodies == []


def test_a_folder_that_cannot_be_written(fake: FakeHub, tmp_path: Path) -> None:
    del fake
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        download.pull_file(model("small.gguf", SMALL))


def test_another_process_at_the_same_file(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LOCK_WAIT_S", 0.0)
    file = model("small.gguf", SMALL)
    path = store.path_of(file)
    path.parent.mkdir(parents=True)
    with FileLock(path.with_name("small.gguf.lock")), pytest.raises(StorageError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Already being pulled"
    assert fake.requests == []
    assert download.pull_file(file).read_bytes() == SMALL
