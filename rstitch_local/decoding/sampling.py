"""From logits to a token: temperature, filters, and noise that depends only on seed and position.

Knows one vector of logits at a time; nothing of models, routing or text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import UsageError

_GOLDEN = 0x9E3779B97F4A7C15
# Set apart from the noise of `choose` and from each other: whatever they are, as long as they differ.
_COIN, _SECOND = 0x5851F42D4C957F2D, 0xD1342543DE82EF95
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. The filters apply one after the other, in the order of the fields.

    temperature: divides the logits; 0 takes the likeliest token and ignores the rest.
    top_k: keep the K likeliest tokens (0: all).
    top_p: keep the fewest tokens that hold this share of the probability (1: all).
    min_p: keep tokens at least this share as likely as the likeliest (0: all).

    Raises:
        UsageError: a value outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        ranges = {"temperature": (0.0, 100.0), "top_k": (0, 1 << 31), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError("Sampling out of range", f"{name} is {value}; it goes from {low} to {high}.")


class Sampler:
    """Draws the token of any position of one trajectory.

    By the Gumbel-max trick: the token with the largest logit plus Gumbel noise is a sample of the softmax.
    The noise of token i at position t is a hash of (seed, t, i), so a draw does not depend on what was drawn
    before, on batching or on pauses; two models at one position share their noise, so they agree as often
    as two such draws can.

    Args:
        sampling: the settings.
        seed: any whole number.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling = sampling
        self._seed = _mix(seed & _MASK)

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        """The token for a position.

        Args:
            logits: raw logits, float32, shape (n_vocab,); not changed.
            position: index of the token in the answer, from 0.
            likeliest: the arg-max of the logits (measured with the entropy already).
        """
        if self.sampling.temperature == 0.0:
            return likeliest
        ids, scaled = self._filter(logits)
        noise = gumbel_noise(_mix(self._seed ^ (position * _GOLDEN & _MASK)), ids)
        return int(ids[np.argmax(scaled + noise)])

    def choose_among(self, logits: NDArray[np.float32], ids: NDArray[np.int64], position: int) -> int:
        """One of a few tokens for a position, by noise that is independent of what `choose` draws there.

        Args:
            logits: raw logits, float32, shape (n_vocab,).
            ids: the tokens that may be chosen, int64, one at least.
            position: index of the token in the answer, from 0.
        """
        if self.sampling.temperature == 0.0:
            return int(ids[np.argmax(logits[ids])])
        places, shares = self.distribution(logits[ids])
        weights = np.zeros(len(logits))
        weights[ids[places]] = shares
        return self.draw_again(weights, position)

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The distribution `choose` draws from: ids that pass the filters, and their probabilities.

        Args:
            logits: raw logits, float32, shape (n_vocab,); the temperature must not be 0.

        Returns:
            (ids, probabilities), int64 and float64, of one shape.
        """
        ids, scaled = self._filter(logits)
        shares = np.exp(scaled)
        return ids, shares / shares.sum()

    def uniform(self, position: int) -> float:
        """One number in (0, 1) for a position, independent of all tokens drawn there."""
        return uniform(self._seed ^ _COIN, position)

    def draw_again(self, weights: NDArray[np.float64], position: int) -> int:
        """An index with probability in proportion to its weight, independent of what `choose` draws at a position.

        Args:
            weights: float64, shape (n,), 0 or more, not all 0.
            position: index of the token in the answer, from 0.
        """
        ids = np.flatnonzero(weights)
        noise = gumbel_noise(_mix(_mix(self._seed ^ _SECOND) ^ (position * _GOLDEN & _MASK)), ids)
        return int(ids[np.argmax(np.log(weights[ids]) + noise)])

    def _filter(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ids that pass the filters and their logits over the temperature, shifted by the maximum."""
        s = self.sampling
        ids = np.arange(len(logits))
        if 0 < s.top_k < len(logits):
            ids = np.argpartition(logits, -s.top_k)[-s.top_k :]
        scaled = logits[ids].astype(np.float64)
        with np.errstate(over="ignore"):
            # A temperature next to 0 sends all but the likeliest to -infinity, as it should.
            scaled = (scaled - scaled.max()) / s.temperature
        if s.top_p < 1.0:
            order = np.argsort(-scaled, kind="stable")
            ids, scaled = ids[order], scaled[order]
            share = np.cumsum(np.exp(scaled))
            # The first token that reaches the share is the last one kept, so at least one always is.
            kept = int(np.searchsorted(share, s.top_p * share[-1])) + 1
            ids, scaled = ids[:kept], scaled[:kept]
        if s.min_p > 0.0:
            mask = scaled >= np.log(s.min_p)
            ids, scaled = ids[mask], scaled[mask]
        return ids, scaled


def uniform(seed: int, position: int) -> float:
    """One number in (0, 1) that depends only on seed and position (for the random router)."""
    bits = _mix(_mix(seed & _MASK) ^ (position * _GOLDEN & _MASK))
    return ((bits >> 11) + 0.5) / (1 << 53)


def gumbel_noise(key: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard Gumbel noise for each id, shape as `ids`: -ln(-ln u), u a hash of key and id."""
    with np.errstate(over="ignore"):
        x = _finalise(np.uint64(key) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    u = ((x >> np.uint64(11)).astype(np.float64) + 0.5) / (1 << 53)
    return np.asarray(-np.log(-np.log(u)))


def _finalise(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), on whole arrays."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix(x: int) -> int:
    """SplitMix64 of one number."""
    x = (x + _GOLDEN) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
