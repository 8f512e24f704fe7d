"""Steps as compressed JSON, by columns, and a Trace made of steps alone.

Knows Step and Trace; nothing of databases.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from operator import attrgetter
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import StorageError
from rstitch_local.trace.columns import STORED_NAMES
from rstitch_local.trace.record import Trace

# The column in the database of each field of Step.
_COLUMNS = {field.name: STORED_NAMES.get(field.name, field.name) for field in fields(Step)}
_ROLES = {role.value: role for role in Role}
# The answer's last save is made in the app's event loop: little more room for much less time.
_LEVEL = 1


def storable(text: str) -> str:
    """The text with lone halves of surrogate pairs replaced, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any) -> str:
    """Compact JSON that UTF-8 can hold; what JSON has no word for becomes a string."""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def pack(steps: Sequence[Step]) -> bytes:
    """Steps as bytes: {"position": [...], "role": [...], ...}, compressed; nothing is rounded."""
    columns = {column: list(map(attrgetter(name), steps)) for name, column in _COLUMNS.items()}
    return zlib.compress(to_json(columns).encode(), _LEVEL)


def unpack(blobs: Iterable[bytes]) -> list[Step]:
    """The steps of one or more results of `pack`, one after the other; raises StorageError for anything else."""
    steps: list[Step] = []
    try:
        for blob in blobs:
            columns: dict[str, list[Any]] = json.loads(zlib.decompress(blob))
            columns["role"] = [_ROLES[role] for role in columns["role"]]
            # A Step of another version may have had other fields.
            names = [name for name, column in _COLUMNS.items() if column in columns]
            rows = zip(*(columns[_COLUMNS[name]] for name in names), strict=True)
            steps.extend(Step(**dict(zip(names, row, strict=True))) for row in rows)
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise StorageError("Damaged record", f"The tokens of an answer cannot be read: {error}.") from error
    return steps


def trace_of_steps(settings: Mapping[str, Any], steps: list[Step], stop: str | None) -> Trace:
    """What can be said of an answer whose record was lost with its writer: all but how evaluations were split.

    Times are those of the models alone; the seed is that of the settings.
    """
    seed = settings.get("seed")
    trace = Trace(seed if isinstance(seed, int) else 0, settings, steps, stop=stop)
    for step in steps:
        trace.tokens[step.role] += 1
    trace.swaps_up = sum(step.swap_entropy is not None for step in steps)
    trace.swaps_down = sum(one.role is Role.LLM and two.role is Role.SLM for one, two in pairwise(steps))
    trace.wall_ms = sum(step.ms for step in steps)
    trace.ttft_ms = steps[0].ms if steps else None
    return trace
