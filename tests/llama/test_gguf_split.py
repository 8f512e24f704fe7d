"""Split models: read as a whole, and what is said about a part that cannot be used as it is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import gguf
import pytest
from tiny_pair import write_model

from rstitch_local.errors import ModelError
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.llama.weights import Weights


def write_split(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, tensors: int = 5, empty_first: bool = False
) -> list[Path]:
    """Write the tiny model in files of at most so many tensors; return them."""
    writer = partial(gguf.GGUFWriter, split_max_tensors=tensors, small_first_shard=empty_first)
    with monkeypatch.context() as patched:
        patched.setattr(gguf, "GGUFWriter", writer)
        write_model(folder / "m.gguf")
    return sorted(folder.glob("m-*.gguf"))


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        check_gguf(path)
    return caught.value


def joined(parts: Iterable[Path], path: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("empty_first", [False, True])
def test_a_split_model_is_loaded_by_its_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_first: bool
) -> None:
    first, *others = write_split(tmp_path, monkeypatch, empty_first=empty_first)
    assert len(others) >= 2
    assert check_gguf(first).file_size == sum(path.stat().st_size for path in (first, *others))
    whole = Weights(write_model(tmp_path / "whole.gguf"))
    weights = Weights(first)
    assert (weights.n_vocab, weights.tokenize("the", parse_special=False)) == (
        whole.n_vocab,
        whole.tokenize("the", parse_special=False),
    )
    weights.close()
    whole.close()


def test_a_later_part_names_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *others = write_split(tmp_path, monkeypatch)
    error = refusal(second)
    assert error.title == "Not the first file"
    assert f"file 2 of {2 + len(others)}" in error.message
    assert error.hint == f"Give the first one: {first}"
    first.rename(tmp_path / "first.gguf")
    assert f"not beside it: {first.name}" in refusal(second).message
    second.rename(tmp_path / "second.gguf")
    error = refusal(tmp_path / "second.gguf")
    assert error.title == "Not the first file"
    assert "named second-00001-of-0000" in error.hint


def test_a_missing_part_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_, last = write_split(tmp_path, monkeypatch)
    last.unlink()
    assert f"needs {last}, which does not exist" in refusal(first).message


@pytest.mark.parametrize("name", ["model.gguf", "m-00001-of-00009.gguf", "m-1-of-3.gguf", "m-00002-of-00003.gguf"])
def test_a_renamed_first_part_gets_a_hint_about_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first, *others = write_split(tmp_path, monkeypatch)
    (tmp_path / "other").mkdir()
    error = refusal(first.rename(tmp_path / "other" / name))
    assert error.title == "Renamed model file"
    count = 1 + len(others)
    assert f"-00001-of-{count:05d}.gguf to " in error.hint
    assert f"-{count:05d}-of-{count:05d}.gguf" in error.hint


def test_swapped_parts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, *_ = write_split(tmp_path, monkeypatch)
    content = second.read_bytes()
    second.write_bytes(third.read_bytes())
    third.write_bytes(content)
    assert f"{second} is file 3 of" in refusal(first).message
    write_model(second)
    assert f"{second} is no file of a split model" in refusal(first).message


@pytest.mark.parametrize("empty_first", [False, True])
def test_joined_parts_get_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_first: bool) -> None:
    parts = write_split(tmp_path, monkeypatch, empty_first=empty_first)
    for name in ("all.gguf", parts[0].name):
        error = refusal(joined(parts, tmp_path / name))
        assert error.title == "Joined model files"
        assert "llama-gguf-split" in error.hint


def test_pieces_cut_by_bytes_are_to_be_joined(tmp_path: Path) -> None:
    content = write_model(tmp_path / "m.gguf").read_bytes()
    for names in (
        ("m.gguf-split-a", "m.gguf-split-b"),
        ("m.gguf.part1of2", "m.gguf.part2of2"),
        ("m.gguf.001", "m.gguf.002"),
    ):
        for name, piece in zip(names, (content[:2000], content[2000:]), strict=True):
            (tmp_path / name).write_bytes(piece)
            assert "join all pieces" in refusal(tmp_path / name).hint


def test_the_name_of_a_part_without_a_split_header_means_nothing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m-00001-of-00003.gguf")
    assert check_gguf(path).file_size == path.stat().st_size
