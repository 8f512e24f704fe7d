"""Read the header of a GGUF file and refuse files that llama.cpp would crash on or that cannot generate text.

Does not call llama.cpp and does not read tensor data. The file is untrusted: every count and length is checked
against the size of the file.
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

_SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_MAX_KEYS, _MAX_TENSORS, _MAX_STRINGS = 1 << 16, 1 << 20, 1 << 24
# fmt: off
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)}
# ggml type: (weights per block, bytes per block). The file size is not checked if a type is not listed.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}
_ENCODERS = (
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
    "eurobert", "gemma-embedding", "llama-embed", "t5encoder",
)
# fmt: on
_REFUSED = {  # by general.architecture or general.type
    **dict.fromkeys(_ENCODERS, "an encoder for embeddings, which cannot generate text"),
    **dict.fromkeys(
        ("dream", "llada", "llada-moe", "rnd1"), "a diffusion model, which does not generate from left to right"
    ),
    **dict.fromkeys(("clip", "mmproj"), "the image encoder (mmproj) of a model; use the file of the language model"),
    **dict.fromkeys(("whisper", "wavtokenizer-dec"), "an audio model, not a language model"),
    "t5": "an encoder-decoder model; a decoder-only model is required",
    "adapter": "a LoRA adapter; merge it into its model",
}


@dataclass(frozen=True)
class GgufSummary:
    """The contents of a valid header. Its strings are untrusted: sanitize them before display.

    Attributes:
        architecture: llama.cpp's name, such as "qwen2".
        name: name of the model; may be empty.
        file_size: size of this file in bytes.
        context_length: context length the model was trained with, in tokens; None if missing.
        vocabulary_size: tokens in the vocabulary; 0 if missing.
        block_count: layers, without the output layer; 0 if missing.
        kv_bytes_per_token: bytes of one token in an f16 KV cache; 0 if the header has too little information.
    """

    architecture: str
    name: str
    file_size: int
    context_length: int | None
    vocabulary_size: int
    block_count: int
    kv_bytes_per_token: int


class _InvalidHeaderError(Exception):
    pass


class _TruncatedHeaderError(_InvalidHeaderError):
    pass


def check_gguf(path: Path) -> GgufSummary:
    """Read the header of a GGUF file and check that it describes a generative language model of the file's size.

    Takes at most 0.1 s for a vocabulary of 150,000 tokens, independent of the file size.

    Raises:
        ModelError: the file is missing, not GGUF, truncated, damaged, or not a generative language model.
    """
    try:
        if not path.exists():
            raise ModelError("Model file not found", f"{path} does not exist.")
        if not path.is_file():
            what = "a folder; use a .gguf file in it" if path.is_dir() else "not a regular file"
            raise ModelError("Not a model file", f"{path} is {what}.")
        with path.open("rb") as file:
            start = file.read(64)
            if start[:4] != b"GGUF":
                raise ModelError("Not a GGUF file", f"{path} is {_description_of(start)}.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _check(path, data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or a file that became empty
        raise ModelError("Cannot read model file", f"{path}: {getattr(error, 'strerror', None) or error}.") from None


def _check(path: Path, data: mmap.mmap) -> GgufSummary:
    reader = _Reader(data)
    try:
        tensor_count, values, lengths = _header(reader)
        end = _data_end(reader, tensor_count, values)
    except _TruncatedHeaderError:
        message = f"{path} ends inside its header, after {len(data)} bytes."
        raise ModelError("Truncated model file", message, "Download it again.") from None
    except _InvalidHeaderError as error:
        raise ModelError("Damaged model file", f"{path}: {error}.", "Download it again.") from None
    _refuse_other_kinds(path, values, tensor_count)
    if end is not None and end > len(data):
        raise ModelError("Truncated model file", f"{path} has {len(data)} of {end} bytes.", "Download it again.")
    arch = _text(values, "general.architecture")
    return GgufSummary(
        architecture=arch,
        name=_text(values, "general.name"),
        file_size=len(data),
        context_length=_integer(values, f"{arch}.context_length", 0) or None,
        vocabulary_size=lengths.get("tokenizer.ggml.tokens", 0),
        block_count=_integer(values, f"{arch}.block_count", 0),
        kv_bytes_per_token=_kv_bytes_per_token(values, arch),
    )


class _Reader:
    """Reads a file forward from a position."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size, self.position = data, len(data), 4

    def skip(self, count: int) -> None:
        if count > self.size - self.position:
            raise _TruncatedHeaderError
        self.position += count

    def scalar(self, layout: struct.Struct) -> Any:
        self.skip(layout.size)
        return layout.unpack_from(self.data, self.position - layout.size)[0]

    def text(self, limit: int) -> str:
        length = self.scalar(_U64)
        self.skip(length)
        return self.data[self.position - length : self.position - max(0, length - limit)].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        # A vocabulary can have 300,000 strings, too many for a function call each.
        position, data, unpack = self.position, self.data, _U64.unpack_from
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
        except (struct.error, OverflowError):  # a string starts beyond the end of the file
            raise _TruncatedHeaderError from None
        self.skip(position - self.position)


def _header(reader: _Reader) -> tuple[int, dict[str, Any], dict[str, int]]:
    """Return the number of tensors, the scalar and string values, and the lengths of the arrays."""
    version = reader.scalar(_U32)
    if version & 0xFFFF == 0:
        raise _InvalidHeaderError("it is a big-endian GGUF file")
    if version not in (2, 3):
        raise _InvalidHeaderError(f"GGUF version {version} is not supported, only 2 and 3")
    tensor_count, key_count = reader.scalar(_U64), reader.scalar(_U64)
    if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
        raise _InvalidHeaderError(f"the header claims {tensor_count} tensors and {key_count} keys")
    values: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    strings = 0
    for _ in range(key_count):
        key, kind = reader.text(256), reader.scalar(_U32)
        if kind == _STRING:
            values[key] = reader.text(1 << 12)  # the start of a chat template is enough
        elif kind == _ARRAY:
            item, count = reader.scalar(_U32), reader.scalar(_U64)
            lengths[key] = count
            if item == _STRING:
                if (strings := strings + count) > _MAX_STRINGS:
                    raise _InvalidHeaderError(f"key {key!r} has {count} strings")
                reader.skip_strings(count)
            elif item in _SCALARS:
                reader.skip(count * _SCALARS[item].size)
            else:
                raise _InvalidHeaderError(f"key {key!r} is an array of unknown type {item}")
        elif kind in _SCALARS:
            values[key] = reader.scalar(_SCALARS[kind])
        else:
            raise _InvalidHeaderError(f"key {key!r} has unknown type {kind}")
    return tensor_count, values, lengths


def _data_end(reader: _Reader, tensor_count: int, values: dict[str, Any]) -> int | None:
    """Return the file size that the tensors require; None if a tensor type is unknown."""
    alignment = _integer(values, "general.alignment", 32)
    if alignment <= 0 or alignment & (alignment - 1):
        raise _InvalidHeaderError(f"alignment {alignment} is not a power of two")
    last, known = 0, True
    for _ in range(tensor_count):
        name, n_dims = reader.text(256), reader.scalar(_U32)
        if n_dims > 4:
            raise _InvalidHeaderError(f"tensor {name!r} has {n_dims} dimensions")
        dims = [reader.scalar(_U64) for _ in range(n_dims)]
        kind, offset = reader.scalar(_U32), reader.scalar(_U64)
        if (weights := math.prod(dims)) >= 1 << 63 or offset >= 1 << 63 or offset % alignment:
            raise _InvalidHeaderError(f"tensor {name!r} has an invalid size or offset")
        known = known and kind in _BLOCKS
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        if dims and dims[0] % per_block:
            raise _InvalidHeaderError(f"tensor {name!r} does not consist of whole blocks")
        last = max(last, offset + weights // per_block * block_bytes)
    return -(-reader.position // alignment) * alignment + last if known else None


def _refuse_other_kinds(path: Path, values: dict[str, Any], tensor_count: int) -> None:
    def refuse(what: str) -> NoReturn:
        raise ModelError("Not a language model", f"{path} is {what}.")

    arch = _text(values, "general.architecture")
    for word in (_text(values, "general.type"), arch):
        if word in _REFUSED:
            refuse(f"{_REFUSED[word]} ({word})")
    if not arch:
        refuse("a GGUF file without an architecture")
    if _integer(values, f"{arch}.pooling_type", 0) > 0 or values.get(f"{arch}.attention.causal") is False:
        refuse("an embedding or ranking model, which cannot generate text")
    if tensor_count == 0:
        refuse("a GGUF file without weights")
    _check_split(path, _integer(values, "split.count", 1), _integer(values, "split.no", 0))


def parts_of(path: Path) -> list[Path]:
    """Return the files of a model: `path`, and if that is the first file of a split model, the others."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None or int(match[2]) != 1:
        return [path]
    return [path.with_name(f"{match[1]}-{number:05d}-of-{match[3]}.gguf") for number in range(1, int(match[3]) + 1)]


def _check_split(path: Path, count: int, number: int) -> None:
    """Refuse a split model unless this is its first file and the others are beside it."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if count > 1 and number > 0:
        first = f": {match[1]}-00001-of-{match[3]}.gguf" if match else ""
        raise ModelError("Not the first file", f"{path} is file {number + 1} of {count}; use the first one{first}.")
    if match:
        for other in range(2, count + 1):
            beside = path.with_name(f"{match[1]}-{other:05d}-of-{match[3]}.gguf")
            if not beside.is_file():
                raise ModelError("Missing model file", f"{path.name} needs {beside}, which does not exist.")


def _description_of(start: bytes) -> str:
    """Describe a file that is not GGUF by its first bytes."""
    if not start:
        return "empty"
    if not any(start):
        return "zero bytes at its start, probably an unfinished download"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the model with `git lfs pull`"
    if start.lstrip()[:1] == b"<":
        return "a web page, probably of a login or an error, instead of the model"
    if start[8:10] == b'{"':
        return "a safetensors file; convert it with llama.cpp's convert_hf_to_gguf.py"
    if start[:4] in (b"lmgg", b"tjgg", b"fmgg", b"algg"):
        return "in the old GGML format; use a GGUF file of this model"
    if start[:4] == b"PK\x03\x04" or start[:2] == b"\x80\x02":
        return "a PyTorch checkpoint or a zip archive; convert it with llama.cpp's convert_hf_to_gguf.py"
    return f"not a GGUF file: its first bytes are {start[:8].hex(' ')}"


def _kv_bytes_per_token(values: dict[str, Any], arch: str) -> int:
    """Keys and values of all layers and KV heads, two bytes each."""
    heads = _integer(values, f"{arch}.attention.head_count", 0)
    kv_heads = _integer(values, f"{arch}.attention.head_count_kv", heads)
    width = _integer(values, f"{arch}.embedding_length", 0) // max(1, heads)
    key, value = (_integer(values, f"{arch}.attention.{part}_length", width) for part in ("key", "value"))
    return 2 * _integer(values, f"{arch}.block_count", 0) * kv_heads * (key + value)


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _integer(values: dict[str, Any], key: str, default: int) -> int:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
