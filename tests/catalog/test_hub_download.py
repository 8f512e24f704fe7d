"""Downloads from a Hub on loopback: complete, interrupted and resumed, refused, damaged, full disk."""

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

from rstitch_local.catalog import download, hub_body, store, transfer
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
    monkeypatch.setattr(hub_body, "RECONNECT_WAITS_S", (0.0, 0.0))
    files = {"acme/models/small.gguf": SMALL, "acme/models/large.gguf": LARGE}
    with FakeHub(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def partial_names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith((".lock", ".json", ".gguf")))


def test_both_files_are_downloaded_with_progress(fake: FakeHub) -> None:
    calls: list[tuple[str, int, int | None]] = []
    entry = pair(model("small.gguf", SMALL), model("large.gguf", LARGE))
    files = download.pull(entry, progress=lambda *arguments: calls.append(arguments))
    assert files.slm.read_bytes() == SMALL
    assert files.llm.read_bytes() == LARGE
    assert store.locate(entry) == files
    assert partial_names(files.slm.parent) == []
    assert fake.bodies == [None, None]
    large = [done for name, done, total in calls if name == "large.gguf" and total == len(LARGE)]
    assert large == sorted(large)
    assert large[0] == 0
    assert large[-1] == len(LARGE)


def test_token_is_sent_to_the_hub_only(fake: FakeHub) -> None:
    download.pull_file(model("small.gguf", SMALL))
    assert {auth for _, path, _, auth in fake.requests if "/resolve/" in path} == {"Bearer hf_secret"}
    assert {auth for _, path, _, auth in fake.requests if path.startswith("/store/")} == {None}


def test_second_pull_sends_no_request(fake: FakeHub) -> None:
    file = model("small.gguf", SMALL)
    download.pull_file(file)
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == SMALL
    assert fake.requests == []


def test_lost_connection_is_resumed_in_the_same_pull(fake: FakeHub) -> None:
    fake.break_after = [1_500_000, None]
    assert download.pull_file(model("large.gguf", LARGE)).read_bytes() == LARGE
    assert fake.bodies == [None, "bytes=1500000-"]


def test_interrupted_pull_is_resumed_by_the_next_one(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    fake.break_after = [1_200_000, 0, 0]
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Download interrupted"
    assert "1200000 of 3000000 bytes" in caught.value.message
    assert store.file_state(file).status is store.FileStatus.PARTIAL
    assert store.file_state(file).size == 1_200_000
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == LARGE
    assert fake.bodies == ["bytes=1200000-"]


def test_server_without_ranges_sends_the_whole_file(fake: FakeHub) -> None:
    fake.ranges = False
    fake.break_after = [1_200_000, None]
    assert download.pull_file(model("large.gguf", LARGE)).read_bytes() == LARGE


def test_stopped_pull_is_resumed(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    done = 0

    def progress(name: str, count: int, total: int | None) -> None:
        nonlocal done
        del name, total
        done = count

    with pytest.raises(CancelledError):
        download.pull_file(file, progress=progress, should_stop=lambda: done > 1_000_000)
    kept = store.file_state(file).size
    assert 1_000_000 < kept < len(LARGE)
    fake.requests.clear()
    assert download.pull_file(file).read_bytes() == LARGE
    assert fake.bodies == [f"bytes={kept}-"]


def test_damaged_partial_file_is_deleted(fake: FakeHub) -> None:
    file = model("large.gguf", LARGE)
    fake.break_after = [1_200_000, 0, 0]
    with pytest.raises(DownloadError):
        download.pull_file(file)
    (partial,) = store.partial_files(store.path_of(file))
    partial.write_bytes(bytes(1_200_000))
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Wrong checksum"
    assert not partial.exists()
    assert download.pull_file(file).read_bytes() == LARGE


def test_file_that_differs_from_the_catalog_is_not_downloaded(fake: FakeHub) -> None:
    for file, title in (
        (model("small.gguf", LARGE), "Wrong size"),
        (model("small.gguf", size=len(SMALL), sha256=digest(LARGE)), "Wrong checksum"),
    ):
        with pytest.raises(DownloadError) as caught:
            download.pull_file(file)
        assert caught.value.title == title
    assert fake.bodies == []


def test_data_without_the_announced_checksum_is_refused(fake: FakeHub) -> None:
    fake.announce = digest(b"something else")
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model("small.gguf"))
    assert caught.value.title == "Wrong checksum"
    assert not store.path_of(model("small.gguf")).exists()


def test_checksum_of_the_first_download_is_binding(fake: FakeHub) -> None:
    file = model("small.gguf")
    entry = pair(file, file)
    path = download.pull(entry).slm
    record = json.loads(path.with_name("small.gguf.json").read_text())
    assert record == {"sha256": digest(SMALL), "size": len(SMALL), "revision": "main"}
    path.write_bytes(bytes(len(SMALL)))
    with pytest.raises(ModelError, match="SHA-256"):
        store.locate(entry)
    path.write_bytes(SMALL[:-1])
    with pytest.raises(ModelError, match="299999 bytes instead of 300000"):
        store.locate(entry)
    # Another pull repairs the file and requires the same data from the Hub.
    assert download.pull_file(file).read_bytes() == SMALL
    path.unlink()
    fake.files["acme/models/small.gguf"] = LARGE[: len(SMALL)]
    with pytest.raises(DownloadError, match="Wrong checksum"):
        download.pull_file(file)


def test_pairs_share_a_common_file(fake: FakeHub) -> None:
    slm = model("small.gguf", SMALL)
    one = PairEntry(name="one", slm=slm, llm=model("large.gguf", LARGE))
    download.pull(one)
    fake.requests.clear()
    other = PairEntry(name="other", slm=slm, llm=slm)
    assert store.state(other).ready
    download.pull(other)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (model("none.gguf"), "has no file none.gguf"),
        (model("small.gguf", repo="acme/nothing"), "no public repository acme/nothing"),
        (model("small.gguf", revision="v9"), "no revision v9"),
        (model("small.gguf", repo="acme/gated"), "its terms must be accepted"),
    ],
)
def test_refusals_of_the_hub_are_explained(fake: FakeHub, file: ModelFile, expected: str) -> None:
    fake.gated = {"acme/gated"}
    with pytest.raises(DownloadError) as caught:
        download.pull_file(file)
    assert expected in caught.value.message
    assert caught.value.exit_code == 5
    assert "\x1b" not in str(caught.value)


def test_hub_is_down(fake: FakeHub) -> None:
    fake.down = 503
    with pytest.raises(DownloadError, match="HTTP 503"):
        download.pull_file(model("small.gguf"))


def test_no_network_fails_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model("small.gguf"))
    assert caught.value.title == "No connection"
    assert f"127.0.0.1:{port} cannot be reached" in caught.value.message


@pytest.mark.parametrize("endpoint", ["nonsense", "http://[", "ftp://127.0.0.1"])
def test_invalid_endpoint_is_a_download_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DownloadError):
        download.pull_file(model("small.gguf"))


def test_download_resumes_after_a_full_disk(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_free_space_is_checked_first(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError) as caught:
        download.pull_file(model("large.gguf", LARGE))
    assert "70.1 MB are required" in caught.value.message
    assert "1 MB are free" in caught.value.message
    assert fake.bodies == []


def test_a_folder_that_cannot_be_written(fake: FakeHub, tmp_path: Path) -> None:
    del fake
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        download.pull_file(model("small.gguf", SMALL))


def test_file_locked_by_another_process(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LOCK_WAIT_S", 0.0)
    file = model("small.gguf", SMALL)
    path = store.path_of(file)
    path.parent.mkdir(parents=True)
    with FileLock(path.with_name("small.gguf.lock")), pytest.raises(StorageError) as caught:
        download.pull_file(file)
    assert caught.value.title == "Download in progress"
    assert fake.requests == []
    assert download.pull_file(file).read_bytes() == SMALL
