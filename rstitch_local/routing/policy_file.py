"""Reads and writes a policy as a safetensors file.

The format is a JSON header and raw arrays; it is read and written here, so that routing needs numpy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import ModelError
from rstitch_local.files import write_atomic
from rstitch_local.routing.policy import Policy, PolicyMetadata

VERSION = 1
_KEY = "rstitch_policy"
_LONGEST_HEADER = 1 << 20
_MOST_BYTES = 1 << 28
_HINT = "Train one with `rstitch train-router`, or use another --router."


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
    arrays = b"".join(array.astype("<f4").tobytes() for array in policy.tensors.values())
    write_atomic(path, len(text).to_bytes(8, "little") + text + arrays, what="router file")


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
    facts = PolicyMetadata(
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
