"""Reading: regular files of limited size only. Writing: complete files only, the old file after a failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import (
    exists,
    is_file,
    is_folder,
    open_atomic,
    open_regular,
    parse_json,
    read_json,
    read_regular,
    require_file,
    storage_error,
    write_atomic,
    write_json,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")


def test_text_bytes_and_json_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    write_atomic(path, "é\r\n\udcff")
    assert path.read_bytes() == "é\r\n?".encode()
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    write_json(path, {"a": "é"})
    assert path.read_bytes() == b'{\n "a": "\\u00e9"\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with open_atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt(), ValueError("no")])
def test_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    expected = StorageError if isinstance(error, OSError) else type(error)

    def write_half() -> None:
        with open_atomic(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(expected):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_replace_removes_the_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(StorageError, match="Cannot write report"):
        write_atomic(path, "x", what="report")
    assert list(tmp_path.iterdir()) == [path]


def test_value_that_is_not_json_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert path.read_text() == "1\n"


def test_two_open_writes_in_one_folder_do_not_collide(tmp_path: Path) -> None:
    name = "x" * 200
    with open_atomic(tmp_path / f"{name}1") as one, open_atomic(tmp_path / f"{name}2") as two:
        one.write(b"1")
        two.write(b"2")
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"1", b"2"]


def test_file_in_place_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write file"):
        write_atomic(tmp_path / "file" / "below", "x")


@posix
def test_symbolic_link_is_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    write_atomic(link, "x")
    assert link.is_symlink()
    assert real.read_text() == "x"


def test_full_disk_has_its_own_title() -> None:
    full = storage_error(Path("x"), OSError(errno.ENOSPC, "No space left on device"))
    assert (full.title, full.hint) == ("Disk full", "Free some space and try again.")


@posix
def test_a_pipe_or_device_is_never_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(StorageError, match="pipe or a device"):
            write_atomic(path, "x")
        with pytest.raises(InputError, match="pipe or a device"):
            require_file(path)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1" * 400, "too large"), ("-1e400", "too large"), ('{"a": 18446744073709551616}', "too large"),
        ("[" * 100_000, "too deeply"), ("{", "Expecting"),
    ],
)  # fmt: skip
def test_json_that_arithmetic_cannot_use_is_a_value_error(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(text)


def test_json_of_ordinary_numbers_is_parsed() -> None:
    assert parse_json(b"[18446744073709551615, -1.5e300, NaN]", parse_constant=str) == [2**64 - 1, -1.5e300, "NaN"]


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="too large, more than 4 bytes"):
        read_regular(path, 4)
    path.write_bytes(b"")
    assert read_regular(path, 5) == b""


@posix
def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match="too large"):
        read_regular(path, 1 << 30)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (lambda path: os.mkfifo(path), "Is a pipe or a device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "Is a pipe or a device"),
    "folder": (lambda path: path.mkdir(), "Is a folder"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "No such file"),
}


@posix
@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    make, message = SPECIAL[kind]
    path = tmp_path / "file"
    make(path)
    for read in (open_regular, lambda path: read_regular(path, 9), lambda path: read_json(path, 9)):
        with pytest.raises(OSError, match=message):
            read(path)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_an_impossible_path_is_an_os_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  its text depends on the system
        open_regular(tmp_path / name)
    assert caught.value.strerror
    assert (exists(tmp_path / name), is_file(tmp_path / name), is_folder(tmp_path / name)) == (False, False, False)


def test_json_that_is_nested_too_deeply_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(path, 1 << 20)
