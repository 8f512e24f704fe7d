"""The learned rule of R-Stitch+: a small network that says, where the SLM is unsure, whether the LLM is worth asking.

Knows the network's numbers and the file they lie in; nothing of how they were learned (learning/), of models or of
trajectories. The file is a safetensors file, read and written here: the format is a JSON header and raw arrays, and
the method itself shall need nothing but numpy.
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
"""What a policy may look at, in this order: see `Policy.features`."""
TENSORS = ("norm_scale", "norm_shift", "inner_weight", "inner_bias", "outer_weight", "outer_bias")
_EPSILON = np.float32(1e-5)
_LEAST_ENTROPY = 1e-6


@dataclass(frozen=True, slots=True)
class PolicyMetadata:
    """What a policy holds for, and where it comes from.

    slm_sha256: sum of the SLM's file: another model's hidden states mean something else.
    n_embd: width of that SLM's hidden state.
    tau_ask: the policy is asked where the SLM's entropy is above; after a token of the LLM, control goes back
        where the LLM's own is at most this.
    inputs: of `INPUTS`, in their order.
    training: how it was made, ready for JSON.
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
        """How many numbers `Policy.features` gives."""
        return self.n_embd * ("hidden" in self.inputs) + len([name for name in self.inputs if name != "hidden"])


class Policy:
    """Layer norm over the hidden state, one inner layer with SiLU, two outputs: stay with the SLM, or switch.

    Args:
        facts: what it holds for.
        tensors: float32 arrays by the names of `TENSORS`: norm_scale and norm_shift of shape (n_embd,), inner_weight
            (units, facts.width), inner_bias (units,), outer_weight (2, units), outer_bias (2,).

    Raises:
        ValueError: an array is missing, of another shape, or holds a NaN or an infinity.
    """

    def __init__(self, facts: PolicyMetadata, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self.facts = facts
        self.tensors = {name: np.ascontiguousarray(tensors[name], np.float32) for name in TENSORS if name in tensors}
        if len(self.tensors) != len(TENSORS) or len(tensors) != len(TENSORS):
            raise ValueError(f"it holds {', '.join(sorted(tensors)) or 'nothing'}")
        units = len(self.tensors["inner_bias"])
        shapes = ((facts.n_embd,), (facts.n_embd,), (units, facts.width), (units,), (2, units), (2,))
        for (name, array), shape in zip(self.tensors.items(), shapes, strict=True):
            if array.shape != shape:
                raise ValueError(f"{name} has the shape {array.shape} and not {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds a number that is none")
        self._hidden = "hidden" in facts.inputs
        self._extras = [name for name in facts.inputs if name != "hidden"]
        self._parts = tuple(self.tensors.values())

    def features(self, seen: Observation) -> NDArray[np.float32]:
        """What the network is given: float32, shape (facts.width,).

        The hidden state as it is, then log10 of the entropy plus 2, log2(1 + pending) / 4 and log2(1 + position) / 4:
        all of the size of 1 for what is common. pending: tokens the LLM would have to evaluate if it were asked now.
        """
        n_embd = self.facts.n_embd if self._hidden else 0
        values = np.empty(self.facts.width, np.float32)
        if self._hidden:
            assert seen.hidden is not None
            values[:n_embd] = seen.hidden
        for place, name in enumerate(self._extras, n_embd):
            if name == "entropy":
                values[place] = math.log10(max(seen.entropy, _LEAST_ENTROPY)) + 2
            else:
                values[place] = math.log2(1 + (seen.pending or 0 if name == "pending" else seen.position)) / 4
        return values

    def score(self, features: NDArray[np.float32]) -> float:
        """How much more it is for switching than for staying: the difference of the two outputs.

        Args:
            features: float32, shape (facts.width,).
        """
        scale, shift, inner, inner_bias, outer, outer_bias = self._parts
        if self._hidden:
            n_embd = self.facts.n_embd
            hidden = features[:n_embd]
            centred = hidden - hidden.mean()
            normed = centred * (1 / math.sqrt(float(centred.dot(centred)) / n_embd + _EPSILON)) * scale + shift
            features = np.concatenate((normed, features[n_embd:])) if self._extras else normed
        x = inner @ features + inner_bias
        # SiLU, x / (1 + exp(-x)); tanh does not overflow.
        x *= 0.5 + 0.5 * np.tanh(0.5 * x)
        stay, switch = (outer @ x + outer_bias).tolist()
        return float(switch - stay)
