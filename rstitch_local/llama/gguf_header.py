"""Read the header of a GGUF file: keys, the vocabulary and the table of tensors.

Does not call llama.cpp and does not read tensor data. The file is untrusted: every count and length is checked against
the size of the file.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
STRING, _ARRAY = 8, 9
_MAX_KEYS, _MAX_TENSORS, MAX_STRINGS = 1 << 16, 1 << 20, 1 << 24
TOKENS = "tokenizer.ggml.tokens"
# fmt: off
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)}
# ggml type: (weights per block, bytes per block). The file size is not checked if a type is not listed.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}
# fmt: on


class InvalidHeaderError(Exception):
    """The header, or a value in it, is invalid; the text completes "FILE: ..."."""


class TruncatedHeaderError(InvalidHeaderError):
    """The file ends inside its header."""


class Array(NamedTuple):
    """An array of the header: the type of its items and their number."""

    kind: int
    length: int


class TensorEntry(NamedTuple):
    """A tensor in the table of tensors: its ggml type is `kind`."""

    name: str
    dims: tuple[int, ...]
    kind: int


@dataclass(frozen=True)
class Header:
    """A header whose structure is valid.

    Attributes:
        values: scalars and strings by key; long strings are cut.
        arrays: arrays by key.
        tokens: the texts of the vocabulary.
        tensors: the table of tensors.
        end: the file size that the tensors require; None if a tensor type is unknown.
    """

    values: dict[str, Any]
    arrays: dict[str, Array]
    tokens: list[bytes]
    tensors: list[TensorEntry]
    end: int | None

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture; "" if it is missing."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """Return a string; "" if it is missing or no string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str, default: int) -> int:
        """Return an integer, or the default if it is missing or no integer."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


def read_header(data: mmap.mmap) -> Header:
    """Read the header of a file that begins with the four bytes of GGUF.

    Raises:
        InvalidHeaderError: it is damaged, or of an unknown version.
    """
    reader = _Reader(data)
    version = reader.scalar(U32)
    if version & 0xFFFF == 0:
        raise InvalidHeaderError("it is a big-endian GGUF file")
    if version not in (2, 3):
        raise InvalidHeaderError(f"GGUF version {version} is not supported, only 2 and 3")
    tensor_count, key_count = reader.scalar(_U64), reader.scalar(_U64)
    if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
        raise InvalidHeaderError(f"the header claims {tensor_count} tensors and {key_count} keys")
    header = Header({}, {}, [], [], None)
    _read_keys(reader, key_count, header)
    alignment = header.integer("general.alignment", 32)
    if alignment <= 0 or alignment & (alignment - 1):
        raise InvalidHeaderError(f"alignment {alignment} is not a power of two")
    return replace(header, end=_read_tensors(reader, tensor_count, alignment, header.tensors))


class _Reader:
    """Reads a file forward from a position."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size, self.position = data, len(data), 4

    def skip(self, count: int) -> None:
        if count > self.size - self.position:
            raise TruncatedHeaderError
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
            raise TruncatedHeaderError from None
        self.skip(position - self.position)

    def strings(self, count: int) -> list[bytes]:
        position, data, unpack = self.position, self.data, _U64.unpack_from
        self.skip_strings(count)
        texts = []
        for _ in range(count):
            start = position + 8
            position = start + unpack(data, position)[0]
            texts.append(data[start:position])
        return texts


def _read_keys(reader: _Reader, count: int, header: Header) -> None:
    strings = 0
    for _ in range(count):
        key, kind = reader.text(256), reader.scalar(U32)
        if kind == STRING:
            header.values[key] = reader.text(1 << 12)  # the start of a chat template is enough
        elif kind == _ARRAY:
            item, length = reader.scalar(U32), reader.scalar(_U64)
            header.arrays[key] = Array(item, length)
            if item == STRING:
                if (strings := strings + length) > MAX_STRINGS:
                    raise InvalidHeaderError(f"key {key!r} has {length} strings")
                if key == TOKENS:
                    header.tokens[:] = reader.strings(length)
                else:
                    reader.skip_strings(length)
            elif item in _SCALARS:
                reader.skip(length * _SCALARS[item].size)
            else:
                raise InvalidHeaderError(f"key {key!r} is an array of unknown type {item}")
        elif kind in _SCALARS:
            header.values[key] = reader.scalar(_SCALARS[kind])
        else:
            raise InvalidHeaderError(f"key {key!r} has unknown type {kind}")


def _read_tensors(reader: _Reader, count: int, alignment: int, tensors: list[TensorEntry]) -> int | None:
    """Fill the table of tensors; return the file size that they require, None if a tensor type is unknown."""
    last, known = 0, True
    for _ in range(count):
        name, n_dims = reader.text(256), reader.scalar(U32)
        if n_dims > 4:
            raise InvalidHeaderError(f"tensor {name!r} has {n_dims} dimensions")
        dims = tuple(reader.scalar(_U64) for _ in range(n_dims))
        kind, offset = reader.scalar(U32), reader.scalar(_U64)
        if (weights := math.prod(dims)) >= 1 << 63 or offset >= 1 << 63 or offset % alignment:
            raise InvalidHeaderError(f"tensor {name!r} has an invalid size or offset")
        known = known and kind in BLOCKS
        per_block, block_bytes = BLOCKS.get(kind, (1, 0))
        if dims and dims[0] % per_block:
            raise InvalidHeaderError(f"tensor {name!r} does not consist of whole blocks")
        last = max(last, offset + weights // per_block * block_bytes)
        tensors.append(TensorEntry(name, dims, kind))
    return -(-reader.position // alignment) * alignment + last if known else None
