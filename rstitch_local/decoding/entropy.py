"""Entropy, top-1 probability, margin and top-k of raw logits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import EngineError


class Uncertainty(NamedTuple):
    """The measurement of one next-token distribution.

    Attributes:
        token: id of the most likely token (the lowest id of a tie).
        entropy: normalized entropy, H / ln V, in [0, 1]; NaN for logits with a NaN or infinity.
        top1: probability of the most likely token.
    """

    token: int
    entropy: float
    top1: float


_BLOCK = 1 << 16
"""Logits measured in one pass, so that they fit in a core's cache: several rows of a small vocabulary."""


def margin(logits: NDArray[np.float32], token: int, top1: float) -> float:
    """Return the margin, p_1 - p_2 = p_1 (1 - exp(x_2 - x_1)) for logits x.

    Args:
        logits: float32, shape (n_vocab,), finite.
        token: the most likely token.
        top1: its probability.

    Returns:
        The top-1 probability minus that of the second most likely token.
    """
    # Two maxima take little time compared with measuring; np.partition would double it.
    second = max((float(part.max()) for part in (logits[:token], logits[token + 1 :]) if part.size), default=-math.inf)
    return -top1 * math.expm1(second - float(logits[token]))


def top_k(logits: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ids and the raw logits of the most likely tokens, most likely first.

    Args:
        logits: float32, shape (n_vocab,).
        k: number of tokens, at least 1.

    Returns:
        (ids, logits), int64 and float32, both of shape (min(k, n_vocab),).
    """
    k = min(k, len(logits))
    ids = np.argpartition(logits, -k)[-k:]
    ids = ids[np.lexsort((ids, -logits[ids]))]
    return ids, logits[ids]


class EntropyMeter:
    """Measures distributions over vocabularies of one size, without allocating.

    H_t = -sum_i p_i ln p_i / ln V (R-Stitch, arXiv 2507.17307) over the full softmax of the raw logits at
    temperature 1. With x_i the logits minus their maximum and Z = sum_i exp(x_i), this is
    (ln Z - sum_i exp(x_i) x_i / Z) / ln V, which takes one exponential per token and no logarithm.

    Args:
        n_vocab: V, the number of logits.
    """

    def __init__(self, n_vocab: int) -> None:
        self._log_vocab = math.log(n_vocab) if n_vocab > 1 else 1.0
        self._rows = max(1, _BLOCK // n_vocab)
        self._shifted = np.empty((self._rows, n_vocab), np.float32)
        self._exp = np.empty((self._rows, n_vocab), np.float32)

    def measure(self, logits: NDArray[np.float32]) -> Uncertainty:
        """Measure float32 logits of shape (n_vocab,).

        Raises:
            EngineError: the logits contain a NaN or infinity.
        """
        (measured,) = self.measure_rows(logits[np.newaxis])
        require_finite(measured, logits)
        return measured

    def measure_rows(self, logits: NDArray[np.float32]) -> list[Uncertainty]:
        """Measure float32 logits of shape (rows, n_vocab), each row on its own.

        A row with a NaN or infinity gets an entropy of NaN, so that one broken row does not affect the others.
        """
        measured: list[Uncertainty] = []
        for at in range(0, len(logits), self._rows):
            block = logits[at : at + self._rows]
            measured += self._one(block[0]) if len(block) == 1 else self._block(block)
        return measured

    def _one(self, logits: NDArray[np.float32]) -> list[Uncertainty]:
        # argmax returns the first NaN, so the maximum shows whether there is one.
        token = int(logits.argmax())
        maximum = logits[token]
        if not (math.isfinite(maximum) and math.isfinite(logits.min())):
            return [Uncertainty(token, math.nan, math.nan)]
        shifted = np.subtract(logits, maximum, out=self._shifted[0])
        exp = np.exp(shifted, out=self._exp[0])
        partition = float(exp.sum())
        entropy = (math.log(partition) - float(exp.dot(shifted)) / partition) / self._log_vocab
        return [Uncertainty(token, min(max(entropy, 0.0), 1.0), 1.0 / partition)]

    def _block(self, logits: NDArray[np.float32]) -> list[Uncertainty]:
        rows = len(logits)
        tokens = logits.argmax(axis=1)
        # Positive infinities turn into NaN here, as intended; negative ones do not, see below.
        with np.errstate(invalid="ignore"):
            shifted = np.subtract(logits, logits.max(axis=1, keepdims=True), out=self._shifted[:rows])
            exp = np.exp(shifted, out=self._exp[:rows])
            partition = exp.sum(axis=1).astype(np.float64)
            weighted = np.matmul(exp[:, np.newaxis], shifted[:, :, np.newaxis])[:, 0, 0].astype(np.float64)
            entropy = np.clip((np.log(partition) - weighted / partition) / self._log_vocab, 0.0, 1.0)
            # 0 times an infinity is NaN.
            entropy += logits.min(axis=1) * 0.0
        return list(map(Uncertainty, tokens.tolist(), entropy.tolist(), (1 / partition).tolist()))


def require_finite(measured: Uncertainty, logits: NDArray[np.float32]) -> None:
    """Raise EngineError if logits of shape (n_vocab,) contain a NaN or infinity, according to their measurement."""
    if math.isnan(measured.entropy):
        bad = int(np.flatnonzero(~np.isfinite(logits))[0])
        raise EngineError("Broken logits", f"The logit of token {bad} is {logits[bad]}.")
