"""Helpers for tests of contexts: evaluating tokens, and a stand-in for `llama_decode`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights

N_CTX = 256
"""llama.cpp allocates KV caches in multiples of 256 tokens: a smaller one would not be full when it reports so."""

# Batches of different sizes round differently; the logits of another token differ by several whole units.
TOLERANCE = 0.02


def text(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(32, 127, length)]


def last_logits(context: Context, spans: Sequence[TokenSpan]) -> list[NDArray[np.float32]]:
    """Return copies of the logits of each span: the originals are valid until the generator is resumed."""
    logits: dict[int, NDArray[np.float32]] = {}
    for output in evaluate(context, spans):
        assert output.span not in logits
        logits[output.span] = output.logits.copy()
    return [logits[index] for index in range(len(spans))]


def extend(context: Context, sequence: int, ids: Sequence[int]) -> NDArray[np.float32]:
    """Evaluate the tokens of `ids` that a sequence does not hold; return the logits of the last one."""
    assert context.tokens(sequence) == list(ids[: context.length(sequence)])
    for output in evaluate(context, [TokenSpan(sequence, ids[context.length(sequence) :])]):
        logits = output.logits.copy()
    return logits


def reference_logits(weights: Weights, ids: Sequence[int]) -> NDArray[np.float32]:
    context = Context(weights, n_ctx=N_CTX)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    context.close()
    return logits


class Decodes:
    """Replaces `llama_decode`: records the number of tokens of each call, and can fail or be interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.fail: dict[int, int] = {}
        self.interrupt_after: int | None = None
        self._decode = llama_cpp.llama_decode
        monkeypatch.setattr(llama_cpp, "llama_decode", self)

    def __call__(self, context: Any, batch: Any) -> int:
        self.sizes.append(batch.n_tokens)
        code = int(self._decode(context, batch))
        if self.interrupt_after == len(self.sizes):
            signal.raise_signal(signal.SIGINT)
        return self.fail.get(len(self.sizes), code)
