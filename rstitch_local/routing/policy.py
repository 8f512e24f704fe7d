"""The policy of R-Stitch+: a small network that decides, where the SLM's entropy is high, whether to call the LLM.

Training is in `rstitch_local.learning`, the file format in policy_file.py. Needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.router import Observation

INPUTS = ("hidden", "entropy", "pending", "position")
"""The inputs a policy can have, in this order; see `Policy.features`."""
TENSORS = ("norm_scale", "norm_shift", "inner_weight", "inner_bias", "outer_weight", "outer_bias")
_EPSILON = np.float32(1e-5)
_MIN_ENTROPY = 1e-6


@dataclass(frozen=True, slots=True)
class PolicyMetadata:
    """What a policy was trained for, and how.

    Attributes:
        slm_sha256: checksum of the SLM's file: hidden states of another model mean something else.
        n_embd: size of that SLM's hidden state.
        tau_ask: the policy decides where the SLM's entropy is above this; after a token of the LLM, control returns to
            the SLM where the LLM's entropy is at most this.
        inputs: those of `INPUTS` that the policy has, in that order.
        training: how it was trained, ready for JSON.

    Raises:
        ValueError: inputs are unknown or not in order, or a number is out of range.
    """

    slm_sha256: str
    n_embd: int
    tau_ask: float
    inputs: tuple[str, ...] = INPUTS
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.inputs or tuple(name for name in INPUTS if name in self.inputs) != self.inputs:
            raise ValueError(f"its inputs are {', '.join(map(str, self.inputs)) or 'none'}")
        if not (math.isfinite(self.tau_ask) and self.n_embd > 0):
            raise ValueError("tau_ask or n_embd is out of range")

    @property
    def width(self) -> int:
        """Length of the vector that `Policy.features` returns."""
        return self.n_embd * ("hidden" in self.inputs) + len([name for name in self.inputs if name != "hidden"])


class Policy:
    """Layer norm over the hidden state, one inner layer with SiLU, two outputs: stay with the SLM, or swap to the LLM.

    Args:
        metadata: what it was trained for.
        tensors: float32 arrays by the names of `TENSORS`: norm_scale and norm_shift of shape (n_embd,), inner_weight
            (units, metadata.width), inner_bias (units,), outer_weight (2, units), outer_bias (2,).

    Raises:
        ValueError: an array is missing, has another shape, or contains a NaN or infinity.
    """

    def __init__(self, metadata: PolicyMetadata, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self.metadata = metadata
        self.tensors = {name: np.ascontiguousarray(tensors[name], np.float32) for name in TENSORS if name in tensors}
        if len(self.tensors) != len(TENSORS) or len(tensors) != len(TENSORS):
            raise ValueError(f"its tensors are {', '.join(sorted(tensors)) or 'none'}")
        units = len(self.tensors["inner_bias"])
        n_embd = metadata.n_embd
        shapes = ((n_embd,), (n_embd,), (units, metadata.width), (units,), (2, units), (2,))
        for (name, array), shape in zip(self.tensors.items(), shapes, strict=True):
            if array.shape != shape:
                raise ValueError(f"{name} has the shape {array.shape}, must be {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} contains a NaN or infinity")
        self._hidden = "hidden" in metadata.inputs
        self._scalars = [name for name in metadata.inputs if name != "hidden"]
        self._arrays = tuple(self.tensors.values())

    def features(self, observation: Observation) -> NDArray[np.float32]:
        """Return the input vector of the network.

        Args:
            observation: an evaluation of the SLM, with `hidden` if the policy has that input.

        Returns:
            float32, shape (metadata.width,): the hidden state, then log10 of the entropy plus 2, log2(1 + pending) / 4
            and log2(1 + position) / 4, which are of the order of 1 for common values.
        """
        n_embd = self.metadata.n_embd if self._hidden else 0
        values = np.empty(self.metadata.width, np.float32)
        if self._hidden:
            assert observation.hidden is not None
            values[:n_embd] = observation.hidden
        for index, name in enumerate(self._scalars, n_embd):
            if name == "entropy":
                values[index] = math.log10(max(observation.entropy, _MIN_ENTROPY)) + 2
            else:
                count = observation.pending or 0 if name == "pending" else observation.position
                values[index] = math.log2(1 + count) / 4
        return values

    def score(self, features: NDArray[np.float32]) -> float:
        """Return the difference of the two outputs: positive if the policy prefers to call the LLM.

        Args:
            features: float32, shape (metadata.width,).
        """
        scale, shift, inner, inner_bias, outer, outer_bias = self._arrays
        if self._hidden:
            n_embd = self.metadata.n_embd
            hidden = features[:n_embd]
            centered = hidden - hidden.mean()
            normed = centered * (1 / math.sqrt(float(centered.dot(centered)) / n_embd + _EPSILON)) * scale + shift
            features = np.concatenate((normed, features[n_embd:])) if self._scalars else normed
        x = inner @ features + inner_bias
        # SiLU, x / (1 + exp(-x)), by tanh, which does not overflow.
        x *= 0.5 + 0.5 * np.tanh(0.5 * x)
        stay, call = (outer @ x + outer_bias).tolist()
        return float(call - stay)
