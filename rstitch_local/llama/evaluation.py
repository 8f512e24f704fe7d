"""Evaluate token spans of any length in batches that a context can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context

_Part = tuple[int, int, int]
"""A part of a span: (index of the span, index of its first token, number of tokens)."""


@dataclass(slots=True)
class TokenSpan:
    """Any number of tokens to evaluate after those in a sequence's cache.

    sequence: llama.cpp's sequence id.
    ids: the tokens.
    hidden: also return the hidden state of the last token.
    """

    sequence: int
    ids: Sequence[int]
    hidden: bool = False


class Output(NamedTuple):
    """The result of a span: views that are valid until the generator is resumed.

    span: index of the span.
    logits: float32, shape (n_vocab,), of the span's last token.
    hidden: float32, shape (n_embd,), of the span's last token; None if not requested.
    """

    span: int
    logits: NDArray[np.float32]
    hidden: NDArray[np.float32] | None


def evaluate(context: Context, spans: Sequence[TokenSpan]) -> Iterator[Output]:
    """Evaluate spans of different sequences in as few batches as `context.n_batch` allows.

    Args:
        context: the model and its KV cache.
        spans: the tokens.

    Yields:
        One Output per span, as soon as it is computed. Copy its arrays to use them after the next one.

    Raises:
        CacheFullError, EngineError: see `Context.decode`.
    """
    # With hidden states enabled every token of a batch is an output, so only the last tokens are evaluated that way.
    first = [(i, 0, len(span.ids) - span.hidden) for i, span in enumerate(spans)]
    last = [(i, len(span.ids) - 1, 1) for i, span in enumerate(spans) if span.hidden]
    for hidden, parts in ((False, first), (True, last)):
        for chunk in _chunks(parts, context.n_batch):
            ends = [index for index, start, count in chunk if start + count == len(spans[index].ids)]
            slices = [
                BatchSlice(spans[index].sequence, spans[index].ids[start : start + count], outputs=int(index in ends))
                for index, start, count in chunk
            ]
            decoded = context.decode(slices, hidden=hidden)
            for row, index in enumerate(ends):
                assert decoded.logits is not None
                yield Output(index, decoded.logits[row], None if decoded.hidden is None else decoded.hidden[row])


def _chunks(parts: Sequence[_Part], n_batch: int) -> Iterator[list[_Part]]:
    """Cut parts so that no chunk has more than n_batch tokens, keeping their order."""
    chunk: list[_Part] = []
    capacity = n_batch
    for index, start, count in parts:
        end = start + count
        while start < end:
            tokens = min(capacity, end - start)
            chunk.append((index, start, tokens))
            start += tokens
            capacity -= tokens
            if capacity == 0:
                yield chunk
                chunk, capacity = [], n_batch
    if chunk:
        yield chunk
