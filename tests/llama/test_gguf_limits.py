"""Values that crash llama.cpp: refused in one sentence, and their neighbors accepted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from gguf_fuzz.document import ARRAY, STRING, Document, Key, text
from gguf_fuzz.tiny_models import MODELS
from tiny_pair import write_model, write_recurrent_model

from rstitch_local import builtin
from rstitch_local.errors import ModelError
from rstitch_local.llama.gguf_check import check_gguf

VOCABULARY = "tokenizer.ggml."


@pytest.fixture
def document(tmp_path: Path) -> Document:
    return Document.read(write_model(tmp_path / "tiny.gguf"))


def set_key(document: Document, name: str, kind: int, items: Sequence[bytes], item_kind: int | None = None) -> None:
    document.keys = [key for key in document.keys if key.name != name.encode()]
    document.keys.append(Key(name.encode(), kind, list(items), item_kind))


def set_integer(document: Document, name: str, value: int) -> None:
    set_key(document, name, 4, [struct.pack("<I", value)])


def set_tokens(document: Document, tokens: Sequence[bytes]) -> None:
    set_key(document, f"{VOCABULARY}tokens", ARRAY, [text(token) for token in tokens], STRING)
    set_key(document, f"{VOCABULARY}token_type", ARRAY, [struct.pack("<i", 1)] * len(tokens), 5)


def tokens_of(document: Document) -> list[bytes]:
    key = document.key(f"{VOCABULARY}tokens")
    assert key is not None
    return [item[8:] for item in key.items]


def refusal(tmp_path: Path, document: Document) -> str:
    path = tmp_path / "changed.gguf"
    path.write_bytes(document.encoded())
    with pytest.raises(ModelError) as caught:
        check_gguf(path)
    assert caught.value.title == "Damaged model file"
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}: ")


def accept(tmp_path: Path, document: Document) -> None:
    path = tmp_path / "changed.gguf"
    path.write_bytes(document.encoded())
    check_gguf(path)


@pytest.mark.parametrize("name", list(MODELS))
def test_models_of_all_architectures_are_accepted(tmp_path: Path, name: str) -> None:
    accept(tmp_path, MODELS[name]().document())


def test_the_files_of_the_package_are_accepted() -> None:
    check_gguf(builtin.SLM_FILE)
    check_gguf(builtin.LLM_FILE)


@pytest.mark.parametrize("model", ["none", "no_vocab"])
def test_no_vocabulary(tmp_path: Path, document: Document, model: str) -> None:
    set_key(document, f"{VOCABULARY}model", STRING, [text(model.encode())])
    assert "no vocabulary" in refusal(tmp_path, document)


@pytest.mark.parametrize(("model", "expected"), [("rwkv", "RWKV"), ("llama", "SentencePiece")])
def test_vocabularies_without_bytes(tmp_path: Path, document: Document, model: str, expected: str) -> None:
    set_key(document, f"{VOCABULARY}model", STRING, [text(model.encode())])
    assert f"{expected} vocabulary lacks tokens for bytes" in refusal(tmp_path, document)


def test_vocabularies_with_bytes(tmp_path: Path) -> None:
    model = MODELS["llama"]().document()
    tokens = tokens_of(model)
    # A character of ASCII may stand for itself.
    tokens[tokens.index(b"<0x0A>")] = b"\n"
    set_tokens(model, tokens)
    accept(tmp_path, model)
    tokens[tokens.index(b"<0xE4>")] = b"other"
    set_tokens(model, tokens)
    assert "lacks tokens for bytes" in refusal(tmp_path, model)
    letters = [bytes([byte]) for byte in range(128)]
    escaped = [rb"\n" if byte == b"\n" else byte for byte in letters] + [b"\\x%02x" % byte for byte in range(128, 256)]
    set_tokens(model, [*escaped, b"the"])
    set_key(model, f"{VOCABULARY}scores", ARRAY, [bytes(4)] * 257, 6)
    set_key(model, f"{VOCABULARY}model", STRING, [text(b"rwkv")])
    accept(tmp_path, model)


def test_tokens_that_are_not_utf8(tmp_path: Path, document: Document) -> None:
    tokens = tokens_of(document)
    set_tokens(document, [b"\xff" + token for token in tokens])
    assert "not UTF-8" in refusal(tmp_path, document)
    set_tokens(document, [*tokens[:-1], b"\xff"])
    accept(tmp_path, document)


def test_tokens_with_the_same_text(tmp_path: Path, document: Document) -> None:
    tokens = tokens_of(document)
    set_tokens(document, [*tokens[:-1], tokens[0]])
    assert f"{len(tokens)} tokens have {len(tokens) - 1} different texts" in refusal(tmp_path, document)
    # llama.cpp names tokens without text.
    set_tokens(document, [*tokens[:-2], b"", b""])
    accept(tmp_path, document)


@pytest.mark.parametrize(
    ("key", "items", "item_kind", "expected"),
    [
        ("tokens", [bytes(4)], 4, "another type"),
        ("merges", [bytes(4)], 4, "another type"),
        ("scores", [text(b"1")], STRING, "another type"),
        ("token_type", [bytes(1)], 0, "another type"),
        ("scores", [bytes(4)], 6, "has 1 items"),
        ("token_type", [bytes(4)], 5, "has 1 items"),
    ],
)
def test_arrays_of_the_vocabulary(
    tmp_path: Path, document: Document, key: str, items: list[bytes], item_kind: int, expected: str
) -> None:
    set_key(document, VOCABULARY + key, ARRAY, items, item_kind)
    assert expected in refusal(tmp_path, document)
    set_integer(document, VOCABULARY + key, 1)
    assert "another type" in refusal(tmp_path, document)


@pytest.mark.parametrize("layers", [0, 513, 4095, 1 << 31, (1 << 32) - 1])
def test_number_of_layers(tmp_path: Path, layers: int) -> None:
    document = Document.read(write_recurrent_model(tmp_path / "mamba.gguf"))
    set_integer(document, "mamba.block_count", layers)
    assert f"mamba.block_count is {layers}" in refusal(tmp_path, document)


@pytest.mark.parametrize("key", ["layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"])
@pytest.mark.parametrize("value", [-1e-6, -1.0, math.nan, math.inf, -math.inf])
def test_epsilon(tmp_path: Path, document: Document, key: str, value: float) -> None:
    set_key(document, f"llama.attention.{key}", 6, [struct.pack("<f", value)])
    assert f"llama.attention.{key} is" in refusal(tmp_path, document)


def test_other_numbers_are_finite(tmp_path: Path, document: Document) -> None:
    set_key(document, "llama.rope.freq_base", 12, [struct.pack("<d", math.nan)])
    assert "llama.rope.freq_base is nan" in refusal(tmp_path, document)
    set_key(document, "llama.rope.freq_base", 12, [struct.pack("<d", -1.0)])
    accept(tmp_path, document)


@pytest.mark.parametrize("kind", [9, 24, 25, 26, 27, 28])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_norm.weight"])
def test_types_that_are_not_for_weights(tmp_path: Path, document: Document, kind: int, name: str) -> None:
    # Room for 64-bit values.
    document.data += bytes(len(document.data))
    next(tensor for tensor in document.tensors if tensor.name == name.encode()).kind = kind
    assert "not for weights" in refusal(tmp_path, document)


def test_a_table_of_indices_may_be_of_integers(tmp_path: Path, document: Document) -> None:
    tensor = next(tensor for tensor in document.tensors if tensor.name == b"blk.0.attn_q.weight")
    tensor.name, tensor.kind = b"blk.0.ffn_gate_tid2eid.weight", 26
    accept(tmp_path, document)


def test_vectors_are_not_quantized(tmp_path: Path, document: Document) -> None:
    tensor = next(tensor for tensor in document.tensors if tensor.name == b"blk.0.attn_norm.weight")
    for kind in (1, 30):
        tensor.kind = kind
        accept(tmp_path, document)
    tensor.kind = 8
    assert "a vector in a type for matrices" in refusal(tmp_path, document)


def _experts(count: int | None, used: int | None, groups: int = 0, used_groups: int = 0) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        names = ("expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count")
        for name, value in zip(names, (count, used, groups, used_groups), strict=True):
            document.keys = [key for key in document.keys if key.name != f"qwen3moe.{name}".encode()]
            if value is not None:
                set_integer(document, f"qwen3moe.{name}", value)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_experts(4, 5), "uses 5 experts of 4"),
        (_experts(4, 0), "uses 0 experts of 4"),
        (_experts(None, 2), "uses 2 experts of 0"),
        (_experts(4, (1 << 32) - 1), "experts of 4"),
        (_experts(511, 2), "the header claims 511"),
        (_experts(4, 2, 3, 1), "3 groups of 4 experts"),
        (_experts(4, 2, 2, 3), "3 groups of experts of 2"),
        (_experts(4, 2, 2, 0), "0 groups of experts of 2"),
        (_experts(0, 0, 1), "1 groups of 0 experts"),
    ],
)
def test_experts(tmp_path: Path, change: Callable[[Document], None], expected: str) -> None:
    document = MODELS["qwen3moe"]().document()
    change(document)
    assert expected in refusal(tmp_path, document)


def test_valid_groups_of_experts(tmp_path: Path) -> None:
    document = MODELS["qwen3moe"]().document()
    for change in (_experts(4, 4, 2, 1), _experts(4, 2, 1, 1), _experts(4, 2, 0, 0)):
        change(document)
        accept(tmp_path, document)


@pytest.mark.parametrize("layers", [5, 1000, (1 << 32) - 1])
def test_layers_that_predict_further_tokens(tmp_path: Path, layers: int) -> None:
    document = MODELS["qwen35"]().document()
    set_integer(document, "qwen35.nextn_predict_layers", layers)
    assert f"nextn_predict_layers is {layers}, of 5 layers" in refusal(tmp_path, document)


@pytest.mark.parametrize("tokens", [0, 1 << 31, (1 << 32) - 1])
def test_context_length(tmp_path: Path, document: Document, tokens: int) -> None:
    set_integer(document, "llama.context_length", tokens)
    assert f"llama.context_length is {tokens}" in refusal(tmp_path, document)


@pytest.mark.parametrize("dimensions", [31, 34, 255, 65_537, (1 << 32) - 1])
def test_rotated_dimensions(tmp_path: Path, dimensions: int) -> None:
    document = MODELS["gemma3"]().document()
    set_integer(document, "gemma3.rope.dimension_count", dimensions)
    assert f"is {dimensions}, heads have 32 dimensions" in refusal(tmp_path, document)


def test_later_parts_of_a_split_model_are_checked(tmp_path: Path, document: Document) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    set_integer(document, "split.count", 2)
    first.write_bytes(document.encoded())
    set_integer(document, "split.no", 1)
    second.write_bytes(document.encoded())
    check_gguf(first)
    document.data += bytes(len(document.data))
    document.tensors[0].kind = 26
    second.write_bytes(document.encoded())
    with pytest.raises(ModelError) as caught:
        check_gguf(first)
    assert str(second) in caught.value.message
