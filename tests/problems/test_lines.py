"""Files of lines: a partial end is removed, a foreign one is kept, and a file that changed meanwhile is not written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rstitch_local.errors import InputError, StorageError
from rstitch_local.problems.lines import _BLOCK_BYTES, LineFile

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@pytest.mark.parametrize("length", [0, 1, _BLOCK_BYTES - 1, _BLOCK_BYTES, 3 * _BLOCK_BYTES + 5])
@pytest.mark.parametrize("before", [b"", b"x\n", b"x" * _BLOCK_BYTES + b"\n"])
@pytest.mark.parametrize("start", [b"{", b"\0"])
def test_partial_lines_of_any_length_are_removed(tmp_path: Path, before: bytes, length: int, start: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(before + (start + start.replace(b"{", b"y") * length)[:length])
    LineFile.repaired(path).append(b"{}\n")
    assert path.read_bytes() == before + b"{}\n"


def test_a_foreign_end_gets_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"{}\nmy note")
    LineFile.repaired(path).append(b"{}\n")
    assert path.read_bytes() == b"{}\nmy note\n{}\n"


def _replaced(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"{}\n{}\n")


@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        _replaced,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"another process\n"),
    ],
)
def test_a_file_that_was_changed_meanwhile_is_not_written(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = tmp_path / "lines"
    file = LineFile.repaired(path)
    file.append(b"{}\n")
    change(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StorageError):
        file.append(b'{"x": 1}\n')
    assert (path.read_bytes() if path.exists() else None) == before


@posix
def test_a_pipe_in_the_place_of_a_file_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = LineFile.repaired(path)
    os.mkfifo(path)
    with pytest.raises(StorageError):
        file.append(b"{}\n")
    with pytest.raises(InputError, match="pipe"):
        LineFile.repaired(path)
