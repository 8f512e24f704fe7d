"""Steps as compressed JSON columns, and a trace rebuilt from steps alone.

Independent of the database.
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
from rstitch_local.files import parse_json
from rstitch_local.trace.columns import STORED_NAMES
from rstitch_local.trace.record import Trace

# The name in the JSON of each field of Step.
_COLUMNS = {field.name: STORED_NAMES.get(field.name, field.name) for field in fields(Step)}
_ROLES = {role.value: role for role in Role}
# The last save of an answer runs in the app's event loop: fast matters more than small.
_LEVEL = 1


def encodable(text: str) -> str:
    """Return the text with lone surrogates replaced, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any) -> str:
    """Return compact JSON that UTF-8 can encode; values that JSON cannot express become strings."""
    return encodable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def pack(steps: Sequence[Step]) -> bytes:
    """Return steps as compressed JSON {"position": [...], "role": [...], ...}, without rounding."""
    columns = {column: list(map(attrgetter(name), steps)) for name, column in _COLUMNS.items()}
    return zlib.compress(to_json(columns).encode(), _LEVEL)


def unpack(blobs: Iterable[bytes]) -> list[Step]:
    """Return the steps of one or more results of `pack`; raise StorageError if one is damaged."""
    steps: list[Step] = []
    try:
        for blob in blobs:
            columns: dict[str, list[Any]] = parse_json(zlib.decompress(blob))
            columns["role"] = [_ROLES[role] for role in columns["role"]]
            # Another version may have had other fields.
            names = [name for name, column in _COLUMNS.items() if column in columns]
            rows = zip(*(columns[_COLUMNS[name]] for name in names), strict=True)
            steps.extend(Step(**dict(zip(names, row, strict=True))) for row in rows)
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise StorageError("Damaged record", f"The tokens of an answer cannot be read: {error}.") from error
    return steps


def trace_of_steps(settings: Mapping[str, Any], steps: list[Step], stop: str | None) -> Trace:
    """Rebuild the trace of an answer whose process ended before it was finished.

    The split of evaluations into prompt, catch-up and decode is lost. Times count the evaluations only. The seed is
    that of the settings.
    """
    seed = settings.get("seed")
    trace = Trace(seed if isinstance(seed, int) else 0, settings, steps, stop=stop)
    for step in steps:
        trace.tokens[step.role] += 1
    trace.swaps_up = sum(step.swap_entropy is not None for step in steps)
    trace.swaps_down = sum(a.role is Role.LLM and b.role is Role.SLM for a, b in pairwise(steps))
    trace.wall_ms = sum(step.ms for step in steps)
    trace.ttft_ms = steps[0].ms if steps else None
    return trace
