"""check_gguf: summaries of valid files, errors for others, and no other exception for any bytes."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rstitch_local.errors import ModelError
from rstitch_local.llama import gguf_check, gguf_header
from rstitch_local.llama.gguf_check import check_gguf


def write_gguf(
    path: Path, arch: str = "qwen2", more: Callable[[Any], None] | None = None, weights: bool = True
) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("Tiny")
    writer.add_context_length(128)
    writer.add_block_count(3)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(40)])
    writer.add_token_types([1] * 40)
    writer.add_chat_template("{{ messages }}")
    if more is not None:
        more(writer)
    if weights:
        writer.add_tensor("token_embd.weight", np.zeros((40, 32), dtype=np.float32))
        quantized = gguf.quantize(np.ones((4, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor("blk.0.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        check_gguf(path)
    return caught.value


def test_summary_of_a_valid_file(good: Path) -> None:
    summary = check_gguf(good)
    assert summary == gguf_check.GgufSummary(
        architecture="qwen2",
        name="Tiny",
        file_size=good.stat().st_size,
        context_length=128,
        vocabulary_size=40,
        block_count=3,
        kv_bytes_per_token=2 * 3 * 2 * (16 + 16),
    )


def test_block_sizes_match_the_gguf_package() -> None:
    for kind, sizes in gguf.GGML_QUANT_SIZES.items():
        assert gguf_header.BLOCKS[int(kind)] == sizes, kind


def test_large_vocabulary_is_skipped_without_a_call_per_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"token{i}" for i in range(152_000)]

    def vocabulary(writer: Any) -> None:
        writer.add_array("other.tokens", words)
        writer.add_token_merges(words)

    path = write_gguf(tmp_path / "large.gguf", more=vocabulary)
    skip, calls = gguf_header._Reader.skip, 0

    def count(reader: gguf_header._Reader, length: int) -> None:
        nonlocal calls
        calls += 1
        skip(reader, length)

    monkeypatch.setattr(gguf_header._Reader, "skip", count)
    assert check_gguf(path).vocabulary_size == 40
    assert 0 < calls < 1000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (bytes(4096), "zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"  <html></html>", "web page"),
        (struct.pack("<Q", 30) + b'{"__metadata__":{}}', "safetensors"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"tjgg" + bytes(60), "old GGML format"),
        (b"hello, I am not a model", "68 65 6c 6c 6f"),
        (b"GGU", "47 47 55"),
    ],
)
def test_other_file_formats_are_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    error = refusal(path)
    assert error.title == "Not a GGUF file"
    assert expected in error.message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.gguf").title == "Model file not found"
    assert "folder" in refusal(tmp_path).message
    assert refusal(Path("a\0b")).exit_code == 3


def test_truncated_file_is_refused(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    cut = tmp_path / "cut.gguf"
    # The writer pads the end of the last tensor; truncating the padding loses nothing.
    last = _data_end(content)
    for length in range(4, last, 7):
        cut.write_bytes(content[:length])
        assert refusal(cut).title == "Truncated model file", length
    cut.write_bytes(content[: last - 1])
    assert f"has {last - 1} of {last} bytes" in refusal(cut).message
    cut.write_bytes(content[:last])
    check_gguf(cut)


def _data_end(content: bytes) -> int:
    """The end of the last tensor: q8_0, 4 rows of 2 blocks of 34 bytes, after 40 x 32 floats."""
    start = len(content) - 40 * 32 * 4 - _padded(8 * 34)
    return start + 40 * 32 * 4 + 8 * 34


def _padded(count: int) -> int:
    return -(-count // 32) * 32


def test_versions_and_byte_order(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "other.gguf"
    for version, expected in ((1, "version 1 is"), (9, "version 9 is"), (3 << 24, "big-endian")):
        path.write_bytes(content[:4] + struct.pack("<I", version) + content[8:])
        assert expected in refusal(path).message


@pytest.mark.parametrize("count", [1 << 21, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("place", [8, 16])
def test_impossible_counts(good: Path, tmp_path: Path, count: int, place: int) -> None:
    content = good.read_bytes()
    path = tmp_path / "impossible.gguf"
    path.write_bytes(content[:place] + struct.pack("<Q", count) + content[place + 8 :])
    assert refusal(path).title == "Damaged model file"


def test_too_many_strings(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_header, "MAX_STRINGS", 39)
    assert "has 40 strings" in refusal(good).message


@pytest.mark.parametrize(("place", "value", "expected"), [(0, 5, "5 dimensions"), (24, 7, "invalid size or offset")])
def test_invalid_tensors(good: Path, tmp_path: Path, place: int, value: int, expected: str) -> None:
    content = bytearray(good.read_bytes())
    start = content.index(b"blk.0.weight") + len(b"blk.0.weight")
    content[start + place] = value
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    assert expected in refusal(path).message


def _pool(writer: Any) -> None:
    writer.add_pooling_type(gguf.PoolingType.LAST)


def _no_pool(writer: Any) -> None:
    writer.add_pooling_type(gguf.PoolingType.NONE)


def _not_causal(writer: Any) -> None:
    writer.add_causal_attention(False)


def _adapter(writer: Any) -> None:
    writer.add_type("adapter")


@pytest.mark.parametrize(
    ("arch", "more", "expected"),
    [
        ("bert", None, "encoder"),
        ("nomic-bert-moe", None, "encoder"),
        ("t5encoder", None, "encoder"),
        ("t5", None, "encoder-decoder"),
        ("clip", None, "image encoder"),
        ("wavtokenizer-dec", None, "audio"),
        ("llada", None, "diffusion"),
        ("qwen3", _pool, "embedding"),
        ("llama", _not_causal, "embedding"),
        ("llama", _adapter, "LoRA"),
    ],
)
def test_other_kinds_of_models_are_refused(
    tmp_path: Path, arch: str, more: Callable[[Any], None] | None, expected: str
) -> None:
    path = write_gguf(tmp_path / "other.gguf", arch, more)
    error = refusal(path)
    assert error.title == "Not a language model"
    assert expected in error.message
    assert error.message.count(".") <= 2  # one sentence, and the dot of the file name


def test_pooling_type_none_is_accepted(tmp_path: Path) -> None:
    assert check_gguf(write_gguf(tmp_path / "a.gguf", more=_no_pool)).architecture == "qwen2"


def test_file_without_weights_is_refused(tmp_path: Path) -> None:
    assert "without weights" in refusal(write_gguf(tmp_path / "a.gguf", weights=False)).message


def test_unknown_tensor_type_is_accepted(good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    place = content.index(b"blk.0.weight") + len(b"blk.0.weight") + 4 + 2 * 8
    assert content[place : place + 4] == struct.pack("<I", 8)
    content[place : place + 4] = struct.pack("<I", 99)
    path = tmp_path / "unknown.gguf"
    path.write_bytes(content[:-100])
    assert check_gguf(path).name == "Tiny"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(min_value=4, max_value=1500),
            st.one_of(
                st.binary(min_size=1, max_size=9),
                st.sampled_from([struct.pack("<Q", n) for n in (0, 1 << 31, 1 << 62, 1 << 63, (1 << 64) - 1)]),
                st.integers(min_value=0, max_value=20).map(lambda n: struct.pack("<I", n)),
            ),
        ),
        max_size=6,
    ),
    length=st.integers(min_value=0, max_value=8000),
)
@example(changes=[(16, struct.pack("<Q", 1 << 15))], length=8000)
def test_damaged_files_raise_only_model_errors(
    good: Path, tmp_path: Path, changes: list[tuple[int, bytes]], length: int
) -> None:
    content = bytearray(good.read_bytes())
    for place, value in changes:
        content[place : place + len(value)] = value
    path = tmp_path / "fuzzed.gguf"
    path.write_bytes(content[:length])
    with contextlib.suppress(ModelError):
        assert check_gguf(path).file_size == len(content[:length])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=400), version=st.sampled_from([2, 3]), keys=st.integers(0, 5))
def test_random_bytes_after_the_header_are_refused(tmp_path: Path, rest: bytes, version: int, keys: int) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 1, keys) + rest)
    with pytest.raises(ModelError):
        check_gguf(path)
