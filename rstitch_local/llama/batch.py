"""The input of a single `llama_decode`: slices of sequences, the arrays llama.cpp reads, and token accounting.

Independent of what a KV cache holds and of when something is evaluated.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import llama_cpp
import numpy as np

KINDS = ("prompt", "catch_up", "decode")
"""The kinds of evaluated tokens, in the order of `Usage`'s lists."""

_PROMPT, _CATCH_UP, _DECODE = range(3)


class BatchSlice(NamedTuple):
    """The tokens of one sequence in a batch; they follow those in its cache.

    sequence: llama.cpp's sequence id.
    ids: the tokens.
    prompt: number of leading tokens that belong to the prompt.
    single: the only token of the answer since the last evaluation, counted as decode instead of catch-up.
    outputs: number of trailing tokens whose logits are returned; at most `Context.outputs` per batch.
    """

    sequence: int
    ids: Sequence[int]
    prompt: int = 0
    single: bool = False
    outputs: int = 1


@dataclass(slots=True)
class Usage:
    """Tokens evaluated and nanoseconds spent, per kind in the order of `KINDS`.

    A token of the answer counts as decode if it is evaluated alone, otherwise as catch-up.
    """

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    ns: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, batch_slice: BatchSlice, elapsed_ns: int) -> None:
        """Count the tokens of an evaluated slice and its share of the time."""
        count, prompt = len(batch_slice.ids), batch_slice.prompt
        if prompt:
            prompt_ns = elapsed_ns * prompt // count
            self.tokens[_PROMPT] += prompt
            self.ns[_PROMPT] += prompt_ns
            elapsed_ns -= prompt_ns
        kind = _DECODE if batch_slice.single else _CATCH_UP
        self.tokens[kind] += count - prompt
        self.ns[kind] += elapsed_ns


class Batch:
    """A reusable `llama_batch` over numpy arrays, which are faster to fill than ctypes arrays."""

    def __init__(self, n_batch: int) -> None:
        self.token = np.zeros(n_batch, np.int32)
        self.pos = np.zeros(n_batch, np.int32)
        self.seq = np.zeros(n_batch, np.int32)
        self.output = np.zeros(n_batch, np.int8)
        # Attributes, because the struct holds pointers only.
        self._counts = np.ones(n_batch, np.int32)
        self._pointers = self.seq.ctypes.data + 4 * np.arange(n_batch, dtype=np.uintp)
        self.struct = llama_cpp.llama_batch()
        ints = ctypes.POINTER(ctypes.c_int32)
        fields: list[tuple[str, int, type[ctypes._Pointer[Any]]]] = [
            ("token", self.token.ctypes.data, ints),
            ("pos", self.pos.ctypes.data, ints),
            ("n_seq_id", self._counts.ctypes.data, ints),
            ("seq_id", self._pointers.ctypes.data, ctypes.POINTER(ints)),
            ("logits", self.output.ctypes.data, ctypes.POINTER(ctypes.c_int8)),
        ]
        for name, address, kind in fields:
            setattr(self.struct, name, ctypes.cast(address, kind))

    def fill(self, slices: Sequence[BatchSlice], starts: Sequence[int], *, hidden: bool) -> tuple[int, int, list[int]]:
        """Write the slices into the arrays.

        Args:
            slices: of different sequences, at most `n_batch` tokens in total.
            starts: per slice, the position of its first token in the sequence.
            hidden: make every token an output.

        Returns:
            The number of tokens, the number of outputs, and the index of each slice's last token; no indices if every
            slice is a single token with output.
        """
        count = outputs = len(slices)
        ends: list[int] = []
        if all(len(item.ids) == 1 and item.outputs for item in slices):
            self.token[:count] = [item.ids[0] for item in slices]
            self.pos[:count] = starts
            self.seq[:count] = [item.sequence for item in slices]
            self.output[:count] = 1
        else:
            count = outputs = 0
            for item, position in zip(slices, starts, strict=True):
                start, count = count, count + len(item.ids)
                self.token[start:count] = item.ids
                self.pos[start:count] = range(position, position + count - start)
                self.seq[start:count] = item.sequence
                self.output[start:count] = hidden
                self.output[count - item.outputs : count] = 1
                outputs += len(item.ids) if hidden else item.outputs
                ends.append(count - 1)
        self.struct.n_tokens = count
        return count, outputs, ends
