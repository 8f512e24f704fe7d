"""What a single `llama_decode` is given: the parts of its sequences, the arrays it reads them from, what it cost.

Knows how tokens are laid out and accounted for; nothing of what a cache holds or of when something is evaluated.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import llama_cpp
import numpy as np

KINDS = ("prompt", "catch_up", "decode")
"""What a token is evaluated as; the order of `Usage`'s lists."""

_PROMPT, _CATCH_UP, _DECODE = range(3)


class BatchSlice(NamedTuple):
    """What one sequence has in a single `llama_decode`: tokens that follow those in its cache.

    sequence: whose they are.
    ids: the tokens.
    prompt: how many of them, the first ones, belong to the prompt.
    single: the answer's token is the only one since the last evaluation, so it counts as decode.
    output: how many tokens' logits are wanted, the last ones: none, the last one's, or several (`Context.outputs`).
    """

    sequence: int
    ids: Sequence[int]
    prompt: int = 0
    single: bool = False
    output: int = 1


@dataclass(slots=True)
class Usage:
    """Tokens evaluated and nanoseconds spent, by kind in the order of `KINDS`.

    The answer's tokens count as decode when they are evaluated one in a pass, else as catch-up.
    """

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    ns: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, part: BatchSlice, elapsed_ns: int) -> None:
        """Account for a part that was evaluated."""
        count = len(part.ids)
        if part.prompt:
            prompt_ns = elapsed_ns * part.prompt // count
            self.tokens[_PROMPT] += part.prompt
            self.ns[_PROMPT] += prompt_ns
            elapsed_ns -= prompt_ns
        kind = _DECODE if part.single else _CATCH_UP
        self.tokens[kind] += count - part.prompt
        self.ns[kind] += elapsed_ns


Span = tuple[int, int, int]
"""BatchSlice of a piece: (index of the piece, index of its first token, number of tokens)."""


def chunks(spans: list[Span], n_batch: int) -> Iterator[list[Span]]:
    """Cut spans so that no chunk holds more than n_batch tokens; their order stays."""
    chunk: list[Span] = []
    room = n_batch
    for index, at, count in spans:
        end = at + count
        while at < end:
            tokens = min(room, end - at)
            chunk.append((index, at, tokens))
            at += tokens
            room -= tokens
            if room == 0:
                yield chunk
                chunk, room = [], n_batch
    if chunk:
        yield chunk


class Batch:
    """A `llama_batch` over arrays of numpy, so that it is filled by slices; one sequence a token."""

    def __init__(self, n_batch: int) -> None:
        self.token = np.zeros(n_batch, np.int32)
        self.pos = np.zeros(n_batch, np.int32)
        self.seq = np.zeros(n_batch, np.int32)
        self.output = np.zeros(n_batch, np.int8)
        # Kept as attributes: the struct only points at them.
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

    def fill(
        self, parts: Sequence[BatchSlice], held: Sequence[Sequence[int]], *, hidden: bool
    ) -> tuple[int, int, list[int]]:
        """Lay out the parts of one call.

        Args:
            parts: of different sequences, as many tokens as there is room for at most.
            held: the tokens in each sequence's cache.
            hidden: whether every token shall be an output.

        Returns:
            The number of tokens, the number of outputs, and at which token each part ends; the last is empty where all
            of them are single tokens with output.
        """
        count = outputs = len(parts)
        ends: list[int] = []
        if all(len(part.ids) == 1 and part.output for part in parts):
            self.token[:count] = [part.ids[0] for part in parts]
            self.pos[:count] = [len(held[part.sequence]) for part in parts]
            self.seq[:count] = [part.sequence for part in parts]
            self.output[:count] = 1
        else:
            count = outputs = 0
            for part in parts:
                at, count = count, count + len(part.ids)
                length = len(held[part.sequence])
                self.token[at:count] = part.ids
                self.pos[at:count] = range(length, length + count - at)
                self.seq[at:count] = part.sequence
                self.output[at:count] = hidden
                self.output[count - part.output : count] = 1
                outputs += len(part.ids) if hidden else part.output
                ends.append(count - 1)
        self.struct.n_tokens = count
        return count, outputs, ends
