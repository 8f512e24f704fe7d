"""Refuse model files that llama.cpp would crash on or that cannot generate text, by their headers.

Does not call llama.cpp.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rstitch_local.errors import ModelError
from rstitch_local.llama.gguf_header import Header, InvalidHeaderError, TruncatedHeaderError, read_header
from rstitch_local.llama.gguf_limits import require_safe
from rstitch_local.llama.gguf_split import parts_of, piece_hint, require_first_part, require_part, split_count

# fmt: off
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
        file_size: size of the file in bytes; of a split model, of all its files.
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
                raise ModelError("Not a GGUF file", f"{path} is {_description_of(start)}.", piece_hint(path))
        with _mapped(path) as data:
            return _check(path, data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or a file that became empty
        raise ModelError("Cannot read model file", f"{path}: {getattr(error, 'strerror', None) or error}.") from None


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _check(path: Path, data: mmap.mmap) -> GgufSummary:
    header = _read(path, data)
    # Later files of a split model have no architecture.
    require_first_part(path, header, data)
    _refuse_other_kinds(path, header)
    _require_safe(path, header, len(data))
    file_size = len(data)
    count = split_count(header)
    for number, part in enumerate(parts_of(path)[1:] if count > 1 else [], start=2):
        with _mapped(part) as other:
            part_header = _read(part, other)
            require_part(part, part_header, number, count)
            _require_safe(part, part_header, len(other))
            file_size += len(other)
    arch = header.architecture
    return GgufSummary(
        architecture=arch,
        name=header.text("general.name"),
        file_size=file_size,
        context_length=header.integer(f"{arch}.context_length", 0) or None,
        vocabulary_size=len(header.tokens),
        block_count=header.integer(f"{arch}.block_count", 0),
        kv_bytes_per_token=_kv_bytes_per_token(header),
    )


def _read(path: Path, data: mmap.mmap) -> Header:
    try:
        return read_header(data)
    except TruncatedHeaderError:
        message = f"{path} ends inside its header, after {len(data)} bytes."
        raise ModelError("Truncated model file", message, piece_hint(path) or "Download it again.") from None
    except InvalidHeaderError as error:
        raise ModelError("Damaged model file", f"{path}: {error}.", "Download it again.") from None


def _require_safe(path: Path, header: Header, size: int) -> None:
    """Refuse a file that is too short for its tensors, or whose values llama.cpp aborts on."""
    if header.end is not None and header.end > size:
        hint = piece_hint(path) or "Download it again."
        raise ModelError("Truncated model file", f"{path} has {size} of {header.end} bytes.", hint)
    try:
        require_safe(header)
    except InvalidHeaderError as error:
        raise ModelError("Damaged model file", f"{path}: {error}.", "Use another file of this model.") from None


def _refuse_other_kinds(path: Path, header: Header) -> None:
    def refuse(what: str) -> NoReturn:
        raise ModelError("Not a language model", f"{path} is {what}.")

    arch = header.architecture
    for word in (header.text("general.type"), arch):
        if word in _REFUSED:
            refuse(f"{_REFUSED[word]} ({word})")
    if not arch:
        refuse("a GGUF file without an architecture")
    if header.integer(f"{arch}.pooling_type", 0) > 0 or header.values.get(f"{arch}.attention.causal") is False:
        refuse("an embedding or ranking model, which cannot generate text")
    # The first file of a split model may hold the header only.
    if not header.tensors and split_count(header) == 1:
        refuse("a GGUF file without weights")


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


def _kv_bytes_per_token(header: Header) -> int:
    """Keys and values of all layers and KV heads, two bytes each."""
    arch = header.architecture
    heads = header.integer(f"{arch}.attention.head_count", 0)
    kv_heads = header.integer(f"{arch}.attention.head_count_kv", heads)
    width = header.integer(f"{arch}.embedding_length", 0) // max(1, heads)
    key, value = (header.integer(f"{arch}.attention.{part}_length", width) for part in ("key", "value"))
    return 2 * header.integer(f"{arch}.block_count", 0) * kv_heads * (key + value)
