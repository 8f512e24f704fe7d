"""Reads and writes policies as safetensors files.

The format (a JSON header and raw arrays) is implemented here, so that routing needs numpy only.
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
from rstitch_local.files import INVALID_RECORD, read_regular, write_atomic
from rstitch_local.routing.policy import TENSORS, Policy, PolicyMetadata
from rstitch_local.sanitize import one_line, shown_list

VERSION = 1
_KEY = "rstitch_policy"
_MAX_HEADER_BYTES = 1 << 20
_MAX_BYTES = 1 << 28
_HINT = "Train one with `rstitch train-router`, or use another router."


def write_policy(path: Path, policy: Policy) -> None:
    """Write a policy to a safetensors file, atomically.

    Args:
        path: the file; its folder is created.
        policy: the policy.

    Raises:
        StorageError: the file cannot be written.
    """
    metadata = policy.metadata
    description = {
        "version": VERSION,
        "slm_sha256": metadata.slm_sha256,
        "n_embd": metadata.n_embd,
        "tau_ask": metadata.tau_ask,
        "inputs": list(metadata.inputs),
        "training": dict(metadata.training),
    }
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(description)}}
    offset = 0
    for name, array in policy.tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    arrays = b"".join(array.astype("<f4").tobytes() for array in policy.tensors.values())
    write_atomic(path, len(text).to_bytes(8, "little") + text + arrays, what="router file")


def read_policy(path: Path) -> Policy:
    """Read a policy from a file of `write_policy`.

    Args:
        path: the file.

    Raises:
        ModelError: the file is missing, unreadable, truncated, of another version, or not a policy.
    """
    try:
        return _parse(memoryview(read_regular(path, _MAX_BYTES)))
    except OSError as error:
        raise ModelError("Cannot read router", f"{path}: {error.strerror or error}.", _HINT) from error
    except INVALID_RECORD as error:
        message = f"{path} is not a learned router: {one_line(error, 160)}."
        raise ModelError("Invalid router file", message, _HINT) from error


def _parse(data: memoryview) -> Policy:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError("it is truncated, or not a safetensors file")
    header = json.loads(bytes(data[8 : 8 + length]))
    description = json.loads(header.pop("__metadata__")[_KEY])
    if header.keys() != set(TENSORS):
        # A header has room for thousands of tensors that each use the whole file.
        raise ValueError(f"its tensors are {shown_list(sorted(header), 7) or 'none'}")
    if description["version"] != VERSION:
        raise ValueError(f"its version is {description['version']}, only version {VERSION} can be read")
    metadata = PolicyMetadata(
        slm_sha256=str(description["slm_sha256"]),
        n_embd=int(description["n_embd"]),
        tau_ask=float(description["tau_ask"]),
        inputs=tuple(str(name) for name in description["inputs"]),
        training=dict(description["training"]),
    )
    return Policy(metadata, {name: _array(data[8 + length :], name, entry) for name, entry in header.items()})


def _array(buffer: memoryview, name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    start, end = (int(offset) for offset in entry["data_offsets"])
    shape: Sequence[int] = [int(side) for side in entry["shape"]]
    if entry["dtype"] != "F32" or any(side < 0 for side in shape) or end - start != 4 * math.prod(shape):
        raise ValueError(f"{name} does not match its header")
    if not 0 <= start <= end <= len(buffer):
        raise ValueError("it is truncated")
    return np.frombuffer(buffer[start:end], "<f4").astype(np.float32).reshape(shape)
