"""Traces of the answers of a run folder, read from traces.jsonl.

Takes no lock and changes nothing, so that a run in progress can be read: partial and damaged lines are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError
from rstitch_local.files import open_regular, parse_json
from rstitch_local.problems.run_folder import TRACES_FILE, Key
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """The trace of an answer, with the id, sample and question it belongs to."""

    id: str
    sample: int
    question: str
    trace: Trace


class RunTraces:
    """The traces of a run folder. The file is indexed at once; each trace is parsed when it is accessed.

    Args:
        folder: a folder of `rstitch solve`. Folders of early versions contain no traces.

    Attributes:
        path: the file.
        damaged: number of lines that are skipped.

    Raises:
        InputError: the file exists and cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRACES_FILE
        self.damaged = 0
        self._offsets: dict[Key, int] = {}
        try:
            with open_regular(self.path) as file:
                offset = 0
                for line in file:
                    record = _record(line)
                    if record is not None:
                        self._offsets[record["id"], record["sample"]] = offset
                    elif line.endswith(b"\n"):
                        self.damaged += 1
                    offset += len(line)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unreadable(self.path, error) from error

    @property
    def keys(self) -> list[Key]:
        """The (id, sample) of all traces, in the order in which they were first solved."""
        return list(self._offsets)

    def __contains__(self, key: object) -> bool:
        return key in self._offsets

    def __iter__(self) -> Iterator[StoredTrace]:
        return (self[key] for key in self._offsets)

    def __getitem__(self, key: Key) -> StoredTrace:
        """Return the trace of an answer; the last one if it was retried.

        Raises:
            KeyError: there is no such trace.
            InputError: the trace is damaged, or the file has changed or cannot be read.
        """
        record = self._stored(key)
        try:
            return StoredTrace(*key, str(record["question"]), Trace.from_dict(record))
        except (ValueError, KeyError) as error:
            raise InputError(
                "Unreadable traces", f"The trace of {one_line(key[0])} in {self.path} is damaged."
            ) from error

    def question(self, key: Key) -> str:
        """Return the question of an answer, "" if it is missing; raises like `[]`."""
        return str(self._stored(key).get("question", ""))

    def _stored(self, key: Key) -> dict[str, Any]:
        offset = self._offsets[key]
        try:
            with open_regular(self.path) as file:
                file.seek(offset)
                record = _record(file.readline(), parse_json)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if record is None or (record["id"], record["sample"]) != key:
            raise InputError("Unreadable traces", f"{self.path} has changed while it was read.")
        return record

    def trace(self, identifier: object, sample: int) -> Trace:
        """Return the trace of an answer; the id is converted to a string.

        Raises:
            InputError: there is no such trace, or as for `[]`.
        """
        key = (str(identifier), sample)
        if key not in self:
            raise InputError("No such answer", f"There is no trace of sample {sample} of the problem {identifier}.")
        return self[key].trace


def _record(line: bytes, parse: Callable[[bytes], Any] = json.loads) -> dict[str, Any] | None:
    try:
        record = parse(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("steps"), dict):
        return None
    has_key = isinstance(record.get("id"), str) and isinstance(record.get("sample"), int)
    return record if has_key else None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError("Unreadable traces", f"{path} cannot be read: {error.strerror or error}.")
