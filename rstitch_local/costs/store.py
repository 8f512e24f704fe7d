"""Stored calibrations, each valid for the files, settings and machine it was measured with.

A calibration measured otherwise is refused with the differences. How one is measured is in `calibration.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from rstitch_local import paths
from rstitch_local.catalog.checksums import cached_sha256, sha256_of
from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.machine import batch_size
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import ModelError, RStitchError
from rstitch_local.files import INVALID_RECORD, exists, read_json, write_json
from rstitch_local.llama import library
from rstitch_local.sanitize import one_line

FORMAT = 1
_HINT = "Measure the pair on this machine with `rstitch calibrate`, or `calibrate(pair)` in Python."
_MAX_BYTES = 1 << 20

Key = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A measured cost model.

    Attributes:
        latency: the cost model.
        key: files, settings and machine it is valid for.
        created: time of the measurement (ISO 8601, UTC).
        path: the file it is stored in.
    """

    latency: PairLatency = field(repr=False)
    key: Key = field(repr=False)
    created: str
    path: Path


def calibration_key(pair: Pair, *, read_files: bool = True) -> Key | None:
    """Return everything a calibration depends on: hashes of the files, settings, machine, build of llama.cpp.

    Args:
        pair: a loaded pair.
        read_files: compute hashes that are not cached (seconds for files of gigabytes). If False and one is not
            cached, return None: no calibration of such a file exists.

    Raises:
        ModelError: a file cannot be read.
    """
    key: dict[str, str | int] = {}
    for role in Role:
        weights, context = pair.weights[role], pair.contexts[role]
        try:
            sha256 = sha256_of(weights.path) if read_files else cached_sha256(weights.path)
        except OSError as error:
            message = f"{weights.path} cannot be read: {error.strerror or error}."
            raise ModelError("Unreadable model file", message) from error
        if sha256 is None:
            return None
        key |= {
            f"{role.name} file": sha256,
            f"{role.name} context": context.n_ctx,
            # The batch size for one answer at a time, which calibrations measure.
            f"{role.name} batch": batch_size(weights.gpu_layers),
            f"{role.name} threads": context.threads,
            f"{role.name} cache type": context.kv_type,
            f"{role.name} GPU layers": weights.gpu_layers,
        }
    build = library.build()
    devices = ", ".join(f"{device.name} {device.description}" for device in library.devices())
    return {
        **key,
        "devices": devices,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "llama.cpp": f"{build.binding}, {build.llama_cpp}, {' '.join(build.features)}",
    }


def calibration_path(key: Key) -> Path:
    """Return the file of the calibration with this key, whether or not it exists."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return paths.calibrations_dir() / f"{_files_prefix(key)}-{name}.json"


def _files_prefix(key: Key) -> str:
    return "-".join(str(key[f"{role.name} file"])[:8] for role in Role)


def store_calibration(pair: Pair, latency: PairLatency) -> Calibration:
    """Store a cost model of a loaded pair, replacing an earlier one.

    Raises:
        StorageError: the file cannot be written.
    """
    key = calibration_key(pair)
    assert key is not None
    created = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "format": FORMAT,
        "pair": pair.name,
        "created": created,
        "key": dict(key),
        "latency": latency.to_dict(),
    }
    path = calibration_path(key)
    write_json(path, record, what="calibration")
    return Calibration(latency, key, created, path)


def load_calibration(pair: Pair) -> Calibration:
    """Return the stored calibration of a pair as it is loaded, on this machine.

    Raises:
        ModelError: there is none, it is damaged, or it was measured on another machine or with other settings; the
            message lists the differences.
    """
    key = calibration_key(pair)
    assert key is not None
    path = calibration_path(key)
    if exists(path):
        calibration = read_calibration(path)
        found = differences(calibration.key, key)
        if not found:
            return calibration
        raise ModelError("Calibration does not match", f"{path} was measured with other settings: {found}.", _HINT)
    others = list(_readable(paths.calibrations_dir(), f"{_files_prefix(key)}-*.json"))
    if not others:
        raise ModelError("No calibration", f"{pair.name} has not been measured on this machine.", _HINT)
    nearest = min((differences(other.key, key) for other in others), key=lambda text: text.count(";"))
    raise ModelError("No calibration", f"{pair.name} was measured only with other settings: {nearest}.", _HINT)


def stored_latency(pair: Pair) -> PairLatency | None:
    """Return the cost model of a pair, or None if no valid one is stored; reads no model file and never raises."""
    try:
        key = calibration_key(pair, read_files=False)
        calibration = None if key is None else read_calibration(calibration_path(key))
    except RStitchError:
        return None
    if calibration is None or differences(calibration.key, key or {}):
        return None
    return calibration.latency


def calibration_of_files(slm: Path, llm: Path) -> Calibration | None:
    """Return the latest calibration of two files, loaded in any way; reads no model file and never raises."""
    hashes = [cached_sha256(path) for path in (slm, llm)]
    if None in hashes:
        return None
    names = [f"{role.name} file" for role in Role]
    pattern = "-".join(str(sha256)[:8] for sha256 in hashes)
    matching = [
        calibration
        for calibration in _readable(paths.calibrations_dir(), f"{pattern}-*.json")
        if [calibration.key.get(name) for name in names] == hashes
    ]
    return max(matching, key=lambda calibration: calibration.created, default=None)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file of any machine; raises ModelError if it is missing or damaged."""
    try:
        record = read_json(path, _MAX_BYTES)
        if record["format"] != FORMAT:
            raise ValueError("another version of rstitch wrote it")
        key = {str(name): value for name, value in record["key"].items() if isinstance(value, str | int)}
        return Calibration(PairLatency.from_dict(record["latency"]), key, str(record["created"]), path)
    except (OSError, *INVALID_RECORD) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 160)
        raise ModelError("Damaged calibration", f"{path} cannot be used: {reason}.", _HINT) from error


def _readable(folder: Path, pattern: str) -> Iterator[Calibration]:
    for path in sorted(folder.glob(pattern)):
        try:
            yield read_calibration(path)
        except ModelError:
            continue


def differences(old: Key, new: Key) -> str:
    """Return the differences between two keys in words; empty if there are none."""
    names = [name for name in (*new, *(old.keys() - new.keys())) if old.get(name) != new.get(name)]
    return "; ".join(f"{one_line(n, 40)} was {_short(old.get(n))}, is {_short(new.get(n))}" for n in names)


def _short(value: str | int | None) -> str:
    return "missing" if value is None else one_line(value, 100)
