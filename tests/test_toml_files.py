"""Reading of TOML files: limits on size, keys and integers; errors in one short sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch_local.errors import UsageError
from rstitch_local.toml_files import read_toml

TITLE = "Cannot read it"


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_toml(path, TITLE)
    assert caught.value.title == TITLE
    assert len(caught.value.message) < 600
    return caught.value.message


def test_text_and_tables_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    assert read_toml(path, TITLE) is None
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n[b]\r\nc = 'x'\r\n")
    file = read_toml(path, TITLE)
    assert file == ("a = 1\n[b]\nc = 'x'\n", {"a": 1, "b": {"c": "x"}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 0x" + "f" * 100_000, "a is an integer of more than 64 bits"),
        ("[b]\nlong = [{c = 0o" + "7" * 100_000 + "}]", "c is an integer of more than 64 bits"),
        ("a = 9223372036854775808", "a is an integer of more than 64 bits"),
        ("a = " + "9" * 5000, "a number has too many digits"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        (".".join("a" * 100_000) + " = 1", "line 1 has a key with more than 32 parts"),
        ("\n[" + ".".join("a" * 40) + "]", "line 2 has a key with more than 32 parts"),
        ("x" * 100_000 + " = 1\n" + "x" * 100_000 + " = 1\n", "Cannot overwrite a value"),
        ("a = 1" * 60_000, "too large, more than 262,144 bytes"),
        ("a = 'b'".encode("utf-16"), "line 1: not UTF-8 text"),
        (b"a = 1\nb = '\xe9'\n", "line 2: not UTF-8 text"),
        (bytes(100), "Invalid statement"),
        ('a = "\\ud800"', "not a Unicode scalar value"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path / "file.toml", content)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_of_64_bits_are_read(tmp_path_factory: pytest.TempPathFactory, value: int) -> None:
    path = tmp_path_factory.mktemp("toml") / "file.toml"
    path.write_text(f"a = {value}")
    file = read_toml(path, TITLE)
    assert file is not None
    assert file.tables == {"a": value}


@pytest.mark.parametrize("quotes", ['"', "'", '"""', "'''"])
def test_dots_in_strings_and_comments_are_not_counted(tmp_path: Path, quotes: str) -> None:
    path = tmp_path / "file.toml"
    path.write_text(f"a = {quotes}{'.' * 99}{quotes} # {'.' * 99}\nb = 1\n")
    file = read_toml(path, TITLE)
    assert file is not None
    assert file.tables == {"a": "." * 99, "b": 1}


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="Is a pipe or a device"):
        read_toml(path, TITLE)
