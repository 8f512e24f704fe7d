"""The learned rule of R-Stitch+: a small network that says, where the SLM is unsure, whether the LLM is worth asking.

Knows the network's numbers and the file they lie in; nothing of how they were learned (learning/), of models or of
trajectories. The file is a safetensors file, read and written here: the format is a JSON header and raw arrays, and
the method itself shall need nothing but numpy.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.routers import Observation
from rstitch_local.errors import ModelError, StorageError

VERSION = 1
INPUTS = ("hidden", "entropy", "pending", "position")
"""What a policy may look at, in this order: see `Policy.features`."""
TENSORS = ("norm_scale", "norm_shift", "inner_weight", "inner_bias", "outer_weight", "outer_bias")
_KEY = "rstitch_policy"
_EPSILON = np.float32(1e-5)
_LEAST_ENTROPY = 1e-6
_LONGEST_HEADER = 1 << 20
_MOST_BYTES = 1 << 28
_HINT = "Train one with `rstitch train-router`, or use another --router."


@dataclass(frozen=True, slots=True)
class PolicyFacts:
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

    def __init__(self, facts: PolicyFacts, tensors: Mapping[str, NDArray[np.float32]]) -> None:
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


def write_policy(path: Path, policy: Policy) -> None:
    """Write a policy as a safetensors file; a reader sees the old file or the new one.

    Raises:
        StorageError: it cannot be written.
    """
    facts = policy.facts
    about = {
        "version": VERSION,
        "slm_sha256": facts.slm_sha256,
        "n_embd": facts.n_embd,
        "tau_ask": facts.tau_ask,
        "inputs": list(facts.inputs),
        "training": dict(facts.training),
    }
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(about)}}
    at = 0
    for name, array in policy.tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = b"".join(array.astype("<f4").tobytes() for array in policy.tensors.values())
        new.write_bytes(len(text).to_bytes(8, "little") + text + arrays)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StorageError("Cannot store the router", f"{path}: {error.strerror or error}.") from error


def read_policy(path: Path) -> Policy:
    """Read what `write_policy` wrote.

    Raises:
        ModelError: no such file, or it is cut off, of another version, or anything else.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        return _parsed(path.read_bytes())
    except OSError as error:
        raise ModelError("No such router file", f"{path} cannot be read: {error.strerror or error}.", _HINT) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = str(error).split("\n")[0][:160]
        raise ModelError("Broken router file", f"{path} holds no learned router: {said}.", _HINT) from error


def _parsed(data: bytes) -> Policy:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LONGEST_HEADER, len(data) - 8):
        raise ValueError("it is cut off, or no safetensors file")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header.pop("__metadata__")[_KEY])
    if about["version"] != VERSION:
        raise ValueError(f"it is of version {about['version']}, and this program reads version {VERSION}")
    facts = PolicyFacts(
        slm_sha256=str(about["slm_sha256"]),
        n_embd=int(about["n_embd"]),
        tau_ask=float(about["tau_ask"]),
        inputs=tuple(str(name) for name in about["inputs"]),
        training=dict(about["training"]),
    )
    return Policy(facts, {name: _array(data[8 + length :], name, entry) for name, entry in header.items()})


def _array(buffer: bytes, name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    start, end = (int(offset) for offset in entry["data_offsets"])
    shape: Sequence[int] = [int(side) for side in entry["shape"]]
    if entry["dtype"] != "F32" or any(side < 0 for side in shape) or end - start != 4 * math.prod(shape):
        raise ValueError(f"{name} is not what its header says")
    if not 0 <= start <= end <= len(buffer):
        raise ValueError("it is cut off")
    return np.frombuffer(buffer[start:end], "<f4").astype(np.float32).reshape(shape)
