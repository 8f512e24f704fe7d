"""A GGUF file in parts that can be changed into values no writer would produce. Checks nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
"""The letter of `struct` for each type of a value."""
_ALIGNMENT = 32


@dataclass
class Key:
    """A key of the header: `items` are encoded values, more or less than one only if `item_kind` is set (an array)."""

    name: bytes
    kind: int
    items: list[bytes]
    item_kind: int | None = None

    def encoded(self) -> bytes:
        """Return the key as it is in the file."""
        if self.item_kind is None:
            value = b"".join(self.items)
        else:
            value = struct.pack("<IQ", self.item_kind, len(self.items)) + b"".join(self.items)
        return text(self.name) + struct.pack("<I", self.kind) + value


@dataclass
class Tensor:
    """The entry of a tensor in the header."""

    name: bytes
    dims: list[int]
    kind: int
    offset: int

    def encoded(self) -> bytes:
        """Return the entry as it is in the file."""
        dims = struct.pack(f"<I{len(self.dims)}Q", len(self.dims), *(dim % (1 << 64) for dim in self.dims))
        return text(self.name) + dims + struct.pack("<IQ", self.kind % (1 << 32), self.offset % (1 << 64))


@dataclass
class Document:
    """A whole file."""

    keys: list[Key]
    tensors: list[Tensor]
    data: bytearray
    version: int = 3
    counts: list[int] = field(default_factory=list)
    """Numbers of tensors and keys in the header; empty for the true ones."""

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a valid file."""
        reader = _Reader(path.read_bytes())
        version, tensor_count, key_count = struct.unpack("<IQQ", reader.take(20))
        keys = [reader.key() for _ in range(key_count)]
        tensors = [reader.tensor() for _ in range(tensor_count)]
        start = -(-reader.position // _ALIGNMENT) * _ALIGNMENT
        return cls(keys, tensors, bytearray(reader.content[start:]), version)

    def key(self, name: str) -> Key | None:
        """Return the key with a name, if there is one."""
        return next((key for key in self.keys if key.name == name.encode()), None)

    def encoded(self) -> bytes:
        """Return the file."""
        counts = self.counts or [len(self.tensors), len(self.keys)]
        head = b"GGUF" + struct.pack("<IQQ", self.version, *counts)
        head += b"".join([key.encoded() for key in self.keys] + [tensor.encoded() for tensor in self.tensors])
        return head + bytes(-len(head) % _ALIGNMENT) + bytes(self.data)


def text(content: bytes) -> bytes:
    """Return an encoded string."""
    return struct.pack("<Q", len(content)) + content


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 4

    def take(self, count: int) -> bytes:
        self.position += count
        return self.content[self.position - count : self.position]

    def string(self) -> bytes:
        return self.take(struct.unpack("<Q", self.take(8))[0])

    def item(self, kind: int) -> bytes:
        return text(self.string()) if kind == STRING else self.take(struct.calcsize("<" + SCALARS[kind]))

    def key(self) -> Key:
        name, kind = self.string(), struct.unpack("<I", self.take(4))[0]
        if kind != ARRAY:
            return Key(name, kind, [self.item(kind)])
        item_kind, count = struct.unpack("<IQ", self.take(12))
        return Key(name, kind, [self.item(item_kind) for _ in range(count)], item_kind)

    def tensor(self) -> Tensor:
        name, count = self.string(), struct.unpack("<I", self.take(4))[0]
        dims = list(struct.unpack(f"<{count}Q", self.take(8 * count)))
        return Tensor(name, dims, *struct.unpack("<IQ", self.take(12)))
