"""Sampling: temperature, filters, and noise that depends only on seed and position."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import UsageError

_GOLDEN = 0x9E3779B97F4A7C15
# Arbitrary constants that separate these noise streams from that of `choose` and from each other.
_UNIFORM, _SECOND = 0x5851F42D4C957F2D, 0xD1342543DE82EF95
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings. The filters are applied in the order of the fields.

    Attributes:
        temperature: divides the logits; 0 is greedy: the most likely token, filters ignored.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probabilities add up to this; 1 keeps all.
        min_p: keep tokens whose probability is at least this fraction of the largest; 0 keeps all.

    Raises:
        UsageError: a value is out of range or not a number.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        ranges = {"temperature": (0.0, 100.0), "top_k": (0, 1 << 31), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            is_number = isinstance(value, numbers.Real)
            if not is_number:
                raise UsageError("Invalid sampling", f"{name} is {value!r}, must be a number.")
            if not low <= value <= high:
                raise UsageError("Sampling out of range", f"{name} is {value}, must be from {low} to {high}.")


class Sampler:
    """Draws the tokens of one trajectory.

    Uses the Gumbel-max trick: the token with the largest logit plus Gumbel noise is a sample of the softmax. The noise
    of token i at position t is a hash of (seed, t, i), so a draw does not depend on earlier draws, batching or
    interruptions. Two models use the same noise at a position, so their draws agree as often as possible.

    Args:
        sampling: the settings.
        seed: any integer.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling = sampling
        self._seed = _mix(seed & _MASK)

    def choose(self, logits: NDArray[np.float32], position: int, likeliest: int) -> int:
        """Draw the token for a position.

        Args:
            logits: raw logits, float32, shape (n_vocab,); not changed.
            position: index of the token in the answer, from 0.
            likeliest: the argmax of the logits, known from the entropy measurement.

        Returns:
            Its id.
        """
        if self.sampling.temperature == 0.0:
            return likeliest
        ids, scaled = self._filter(logits)
        noise = gumbel_noise(_mix(self._seed ^ (position * _GOLDEN & _MASK)), ids)
        return int(ids[np.argmax(scaled + noise)])

    def choose_among(self, logits: NDArray[np.float32], ids: NDArray[np.int64], position: int) -> int:
        """Draw one of a few tokens for a position, with noise independent of that of `choose`.

        Args:
            logits: raw logits, float32, shape (n_vocab,).
            ids: the tokens to choose from, int64, at least one.
            position: index of the token in the answer, from 0.

        Returns:
            One of `ids`.
        """
        if self.sampling.temperature == 0.0:
            return int(ids[np.argmax(logits[ids])])
        places, shares = self.distribution(logits[ids])
        weights = np.zeros(len(logits))
        weights[ids[places]] = shares
        return self.draw_again(weights, position)

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the distribution that `choose` draws from.

        Args:
            logits: raw logits, float32, shape (n_vocab,); the temperature must not be 0.

        Returns:
            (ids, probabilities): the tokens that pass the filters, int64, and their probabilities, float64.
        """
        ids, scaled = self._filter(logits)
        shares = np.exp(scaled)
        return ids, shares / shares.sum()

    def uniform(self, position: int) -> float:
        """Return a number in (0, 1) for a position, independent of all tokens drawn there."""
        return uniform(self._seed ^ _UNIFORM, position)

    def draw_again(self, weights: NDArray[np.float64], position: int) -> int:
        """Draw an index with probability proportional to its weight, with noise independent of that of `choose`.

        Args:
            weights: float64, shape (n,), nonnegative, not all 0.
            position: index of the token in the answer, from 0.

        Returns:
            An index into `weights`.
        """
        ids = np.flatnonzero(weights)
        noise = gumbel_noise(_mix(_mix(self._seed ^ _SECOND) ^ (position * _GOLDEN & _MASK)), ids)
        return int(ids[np.argmax(np.log(weights[ids]) + noise)])

    def _filter(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ids that pass the filters, and their logits minus the maximum, divided by the temperature."""
        s = self.sampling
        ids = np.arange(len(logits))
        if 0 < s.top_k < len(logits):
            ids = np.argpartition(logits, -s.top_k)[-s.top_k :]
        scaled = logits[ids].astype(np.float64)
        with np.errstate(over="ignore"):
            # At a temperature close to 0 all but the largest overflow to -infinity, which is the correct limit.
            scaled = (scaled - scaled.max()) / s.temperature
        if s.top_p < 1.0:
            order = np.argsort(-scaled, kind="stable")
            ids, scaled = ids[order], scaled[order]
            share = np.cumsum(np.exp(scaled))
            # The token that reaches the share is included, so at least one is kept.
            count = int(np.searchsorted(share, s.top_p * share[-1])) + 1
            ids, scaled = ids[:count], scaled[:count]
        if s.min_p > 0.0:
            mask = scaled >= np.log(s.min_p)
            ids, scaled = ids[mask], scaled[mask]
        return ids, scaled


def uniform(seed: int, position: int) -> float:
    """Return a number in (0, 1) that depends only on seed and position."""
    bits = _mix(_mix(seed & _MASK) ^ (position * _GOLDEN & _MASK))
    return ((bits >> 11) + 0.5) / (1 << 53)


def gumbel_noise(key: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return standard Gumbel noise of the shape of `ids`: -ln(-ln u), u being a hash of key and id."""
    with np.errstate(over="ignore"):
        x = _finalize(np.uint64(key) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    u = ((x >> np.uint64(11)).astype(np.float64) + 0.5) / (1 << 53)
    return np.asarray(-np.log(-np.log(u)))


def _finalize(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) to an array."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix(x: int) -> int:
    """Apply SplitMix64 to one number."""
    x = (x + _GOLDEN) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
