"""Where calibrations are kept, and for which files, settings and machine each of them holds.

Knows what makes two measurements comparable, and how to refuse one that is not; nothing of how one is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from rstitch_local.files import write_json
from rstitch_local.llama import library
from rstitch_local.sanitize import one_line

FORMAT = 1
_HINT = "Measure this pair on this machine with `rstitch calibrate`."
_MOST_BYTES = 1 << 20

Key = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A cost model, what it holds for (`calibration_key`), and when it was measured (ISO 8601, UTC)."""

    latency: PairLatency
    key: Key
    created: str


def calibration_key(pair: Pair, *, read_files: bool = True) -> Key | None:
    """All that a calibration depends on: sums of the files, settings, machine and build of llama.cpp.

    Args:
        pair: loaded.
        read_files: work out sums that are not known yet (seconds, for files of gigabytes); otherwise the answer is
            None for such files, for no calibration can have been made of them.

    Raises:
        ModelError: a file can no longer be read.
    """
    key: dict[str, str | int] = {}
    for role in Role:
        weights, context = pair.weights[role], pair.contexts[role]
        try:
            sha256 = sha256_of(weights.path) if read_files else cached_sha256(weights.path)
        except OSError as error:
            raise ModelError("No such model file", f"{weights.path} cannot be read: {error.strerror}.") from error
        if sha256 is None:
            return None
        key |= {
            f"{role.name} file": sha256,
            f"{role.name} context": context.n_ctx,
            # What calibrations are of: one answer at a time.
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


def path_of(key: Key) -> Path:
    """Where the calibration with this key lies, or will."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return paths.calibrations_dir() / f"{_files_part(key)}-{name}.json"


def _files_part(key: Key) -> str:
    return "-".join(str(key[f"{role.name} file"])[:8] for role in Role)


def store_calibration(pair: Pair, latency: PairLatency) -> Path:
    """Keep a cost model of this pair; an older one is there until the new one is whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    key = calibration_key(pair)
    assert key is not None
    record = {
        "format": FORMAT,
        "pair": pair.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "key": dict(key),
        "latency": latency.to_dict(),
    }
    path = path_of(key)
    write_json(path, record, what="calibration")
    return path


def load_calibration(pair: Pair) -> Calibration:
    """The calibration of this pair, as it is loaded, on this machine.

    Raises:
        ModelError: there is none, it is broken, or the only ones are of another machine or of other settings; says
            what differs.
    """
    key = calibration_key(pair)
    assert key is not None
    path = path_of(key)
    if path.exists():
        found = read_calibration(path)
        differences = different(found.key, key)
        if not differences:
            return found
        raise ModelError("Another calibration", f"{path} was made for something else: {differences}.", _HINT)
    others = list(_readable(paths.calibrations_dir(), f"{_files_part(key)}-*.json"))
    if not others:
        raise ModelError("No calibration", f"{pair.name} was not measured on this machine yet.", _HINT)
    nearest = min((different(other.key, key) for other in others), key=lambda text: text.count(";"))
    raise ModelError(
        "No calibration", f"{pair.name} was measured, but not as it is loaded here and now: {nearest}.", _HINT
    )


def stored_latency(pair: Pair) -> PairLatency | None:
    """The cost model of this pair where there is one that holds; never reads a model file, and never fails."""
    try:
        key = calibration_key(pair, read_files=False)
        found = None if key is None else read_calibration(path_of(key))
    except RStitchError:
        return None
    return found.latency if found is not None and not different(found.key, key or {}) else None


def calibration_of_files(slm: Path, llm: Path) -> Calibration | None:
    """The latest calibration of two files here, however they were loaded; never reads a model file, and never fails."""
    sums = [cached_sha256(path) for path in (slm, llm)]
    if None in sums:
        return None
    names = [f"{role.name} file" for role in Role]
    pattern = "-".join(str(sha256)[:8] for sha256 in sums)
    found = [
        each
        for each in _readable(paths.calibrations_dir(), f"{pattern}-*.json")
        if [each.key.get(name) for name in names] == sums
    ]
    return max(found, key=lambda each: each.created, default=None)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file, of whatever machine; raises ModelError where it is missing or broken."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT:
            raise ValueError("it is of another version of rstitch")
        key = {str(name): value for name, value in record["key"].items() if isinstance(value, str | int)}
        return Calibration(PairLatency.from_dict(record["latency"]), key, str(record["created"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError("Broken calibration", f"{path} cannot be used: {one_line(error, 160)}.", _HINT) from error


def _readable(folder: Path, pattern: str) -> Iterator[Calibration]:
    for path in sorted(folder.glob(pattern)):
        try:
            yield read_calibration(path)
        except ModelError:
            continue


def different(was: Key, now: Key) -> str:
    """What differs between two keys, in words; empty where nothing does."""
    names = [name for name in (*now, *(was.keys() - now.keys())) if was.get(name) != now.get(name)]
    return "; ".join(f"{one_line(n, 40)} was {_short(was.get(n))}, is {_short(now.get(n))}" for n in names)


def _short(value: str | int | None) -> str:
    return "not there" if value is None else one_line(value, 100)
