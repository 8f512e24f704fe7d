"""Looks at a GGUF file's header and refuses what llama.cpp would crash on, or what cannot write text.

Plain Python: llama.cpp is not called, and of a tensor only its place and size are looked at, never its data.
The file is untrusted: every count and length in it is held against the file's size before it is believed.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rstitch_local.errors import ModelError

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_MAX_KEYS, _MAX_TENSORS, _MAX_STRINGS = 1 << 16, 1 << 20, 1 << 24
# fmt: off
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)}
# ggml type: weights in a block, bytes of a block. Sizes are not checked with a type that came later.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}
_ENCODERS = (
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
    "eurobert", "gemma-embedding", "llama-embed", "t5encoder",
)
# fmt: on
_REFUSED = {  # by general.architecture or general.type
    **dict.fromkeys(_ENCODERS, "an encoder for embeddings, which cannot write text"),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a diffusion model, which does not write left to right"),
    **dict.fromkeys(("clip", "mmproj"), "the image part (mmproj) of a model; give the file of the language model"),
    **dict.fromkeys(("whisper", "wavtokenizer-dec"), "an audio model, not a language model"),
    "t5": "an encoder-decoder model; the method needs a decoder only",
    "adapter": "a LoRA adapter; merge it into its model first",
}


@dataclass(frozen=True)
class GgufSummary:
    """What the header of a usable file says. Its texts are untrusted: no markup, no control characters.

    Attributes:
        architecture: llama.cpp's name for it, such as "qwen2".
        name: the model's own name; may be empty.
        file_size: bytes of this file.
        quantisation: such as "Q4_K_M"; "" when the file does not say, or says something newer than this.
        context_length: tokens the model was trained for; None when the file does not say.
        tokenizer_model: such as "gpt2"; "" when there is none.
        vocabulary_size: tokens in the vocabulary; 0 when there is none.
        block_count: layers, without the output layer; 0 when the file does not say.
        kv_bytes_per_token: what one token takes in an f16 cache; 0 when the file does not say enough.
        split_count: files the model is cut into; 1 when it is whole.
    """

    architecture: str
    name: str
    file_size: int
    tensor_count: int
    quantisation: str
    context_length: int | None
    tokenizer_model: str
    vocabulary_size: int
    block_count: int
    kv_bytes_per_token: int
    has_chat_template: bool
    split_count: int


class _BrokenError(Exception):
    """The header says something that cannot be."""


class _CutError(_BrokenError):
    """The header says more than the file holds."""


def check_gguf(path: Path) -> GgufSummary:
    """Read the header of a GGUF file and check that a language model of that size can be in it.

    Takes 0.1 s or less for a vocabulary of 150,000 tokens, whatever the size of the file.

    Raises:
        ModelError: missing, not a GGUF, cut off, damaged, or a model that cannot write text.
    """
    try:
        if not path.exists():
            raise ModelError("No such model file", f"{path} does not exist.")
        if not path.is_file():
            what = "a folder; give the .gguf file in it" if path.is_dir() else "not a regular file"
            raise ModelError("Not a model file", f"{path} is {what}.")
        with path.open("rb") as file:
            start = file.read(64)
            if start[:4] != b"GGUF":
                raise ModelError("Not a GGUF file", f"{path} is {_recognised(start)}.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _check(path, data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or the file shrank to nothing
        raise ModelError("Model file cannot be read", f"{path}: {getattr(error, 'strerror', None) or error}.") from None


def _check(path: Path, data: mmap.mmap) -> GgufSummary:
    reader = _Reader(data)
    try:
        tensor_count, values, lengths = _header(reader)
        end = _data_end(reader, tensor_count, values)
    except _CutError:
        message = f"{path} ends inside its header, after {len(data)} bytes."
        raise ModelError("Model file is cut off", message, "Download it again.") from None
    except _BrokenError as error:
        raise ModelError("Model file is damaged", f"{path}: {error}.", "Download it again.") from None
    _refuse_other_kinds(path, values, tensor_count)
    if end is not None and end > len(data):
        raise ModelError("Model file is cut off", f"{path} has {len(data)} of {end} bytes.", "Download it again.")
    arch = _text(values, "general.architecture")
    return GgufSummary(
        architecture=arch,
        name=_text(values, "general.name"),
        file_size=len(data),
        tensor_count=tensor_count,
        quantisation=_FILE_TYPES.get(_whole(values, "general.file_type", -1), ""),
        context_length=_whole(values, f"{arch}.context_length", 0) or None,
        tokenizer_model=_text(values, "tokenizer.ggml.model"),
        vocabulary_size=lengths.get("tokenizer.ggml.tokens", 0),
        block_count=_whole(values, f"{arch}.block_count", 0),
        kv_bytes_per_token=_kv_bytes_per_token(values, arch),
        has_chat_template=bool(_text(values, "tokenizer.chat_template").strip()),
        split_count=max(1, _whole(values, "split.count", 1)),
    )


class _Reader:
    """A place in the file, and reading forward from it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size, self.at = data, len(data), 4

    def skip(self, count: int) -> None:
        if count > self.size - self.at:
            raise _CutError
        self.at += count

    def scalar(self, layout: struct.Struct) -> Any:
        self.skip(layout.size)
        return layout.unpack_from(self.data, self.at - layout.size)[0]

    def text(self, limit: int) -> str:
        length = self.scalar(_U64)
        self.skip(length)
        return self.data[self.at - length : self.at - max(0, length - limit)].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        # A vocabulary has 300,000 texts: no function call for each of them.
        at, data, unpack = self.at, self.data, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):  # the next text would begin behind the end
            raise _CutError from None
        self.skip(at - self.at)


def _header(reader: _Reader) -> tuple[int, dict[str, Any], dict[str, int]]:
    """The number of tensors, the values that are no arrays, and the lengths of those that are."""
    version = reader.scalar(_U32)
    if version & 0xFFFF == 0:
        raise _BrokenError("it is a big-endian GGUF file, made for other machines")
    if version not in (2, 3):
        raise _BrokenError(f"its GGUF version is {version}; versions 2 and 3 can be read")
    tensor_count, key_count = reader.scalar(_U64), reader.scalar(_U64)
    if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
        raise _BrokenError(f"its header speaks of {tensor_count} tensors and {key_count} keys")
    values: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    strings = 0
    for _ in range(key_count):
        key, kind = reader.text(256), reader.scalar(_U32)
        if kind == _STRING:
            values[key] = reader.text(1 << 12)  # of a template the beginning is enough
        elif kind == _ARRAY:
            item, count = reader.scalar(_U32), reader.scalar(_U64)
            lengths[key] = count
            if item == _STRING:
                if (strings := strings + count) > _MAX_STRINGS:
                    raise _BrokenError(f"its key {key!r} has {count} texts")
                reader.skip_strings(count)
            elif item in _SCALARS:
                reader.skip(count * _SCALARS[item].size)
            else:
                raise _BrokenError(f"its key {key!r} is an array of an unknown type ({item})")
        elif kind in _SCALARS:
            values[key] = reader.scalar(_SCALARS[kind])
        else:
            raise _BrokenError(f"its key {key!r} has an unknown type ({kind})")
    return tensor_count, values, lengths


def _data_end(reader: _Reader, tensor_count: int, values: dict[str, Any]) -> int | None:
    """How many bytes the whole file must have, or None when a tensor type is too new to tell."""
    alignment = _whole(values, "general.alignment", 32)
    if alignment <= 0 or alignment & (alignment - 1):
        raise _BrokenError(f"its alignment is {alignment}, which is no power of two")
    last, known = 0, True
    for _ in range(tensor_count):
        name, n_dims = reader.text(256), reader.scalar(_U32)
        if n_dims > 4:
            raise _BrokenError(f"its tensor {name!r} has {n_dims} dimensions")
        dims = [reader.scalar(_U64) for _ in range(n_dims)]
        kind, offset = reader.scalar(_U32), reader.scalar(_U64)
        if (weights := math.prod(dims)) >= 1 << 63 or offset >= 1 << 63 or offset % alignment:
            raise _BrokenError(f"its tensor {name!r} cannot be as large, or lie where it says")
        known = known and kind in _BLOCKS
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        if dims and dims[0] % per_block:
            raise _BrokenError(f"its tensor {name!r} does not fill whole blocks of its type")
        last = max(last, offset + weights // per_block * block_bytes)
    return -(-reader.at // alignment) * alignment + last if known else None


def _refuse_other_kinds(path: Path, values: dict[str, Any], tensor_count: int) -> None:
    def refuse(what: str) -> NoReturn:
        raise ModelError("Not a language model", f"{path} is {what}.")

    arch = _text(values, "general.architecture")
    for word in (_text(values, "general.type"), arch):
        if word in _REFUSED:
            refuse(f"{_REFUSED[word]} ({word})")
    if not arch:
        refuse("a GGUF file that names no architecture")
    if _whole(values, f"{arch}.pooling_type", 0) > 0 or values.get(f"{arch}.attention.causal") is False:
        refuse("an embedding or ranking model, which cannot write text")
    if tensor_count == 0:
        refuse("a GGUF file without any weights")
    _check_split(path, _whole(values, "split.count", 1), _whole(values, "split.no", 0))


def _check_split(path: Path, count: int, number: int) -> None:
    """A model in several files is opened by its first, and needs all the others beside it."""
    match = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if count > 1 and number > 0:
        first = f": {match[1]}-00001-of-{match[3]}.gguf" if match else ""
        raise ModelError("Not the first file", f"{path} is file {number + 1} of {count}; give the first one{first}.")
    if match:
        for other in range(2, count + 1):
            beside = path.with_name(f"{match[1]}-{other:05d}-of-{match[3]}.gguf")
            if not beside.is_file():
                raise ModelError("Model file is missing", f"{path.name} needs {beside}, which is not there.")


def _recognised(start: bytes) -> str:
    """What a file is that is not a GGUF, by its first bytes."""
    if not start:
        return "empty"
    if not any(start):
        return "full of zero bytes at its start: a download that never finished"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model: fetch the file itself (git lfs pull)"
    if start.lstrip()[:1] == b"<":
        return "a web page, not a model: the download went to a login or error page"
    if start[8:10] == b'{"':
        return "a safetensors file; convert it with llama.cpp's convert_hf_to_gguf.py"
    if start[:4] in (b"lmgg", b"tjgg", b"fmgg", b"algg"):
        return "in the old GGML format; look for a GGUF of this model"
    if start[:4] == b"PK\x03\x04" or start[:2] == b"\x80\x02":
        return "a PyTorch checkpoint or a zip archive; convert it with llama.cpp's convert_hf_to_gguf.py"
    return f"not a GGUF file: it begins with the bytes {start[:8].hex(' ')}"


def _kv_bytes_per_token(values: dict[str, Any], arch: str) -> int:
    """Keys and values of all layers and KV heads, two bytes each."""
    heads = _whole(values, f"{arch}.attention.head_count", 0)
    kv_heads = _whole(values, f"{arch}.attention.head_count_kv", heads)
    width = _whole(values, f"{arch}.embedding_length", 0) // max(1, heads)
    key, value = (_whole(values, f"{arch}.attention.{part}_length", width) for part in ("key", "value"))
    return 2 * _whole(values, f"{arch}.block_count", 0) * kv_heads * (key + value)


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _whole(values: dict[str, Any], key: str, default: int) -> int:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
