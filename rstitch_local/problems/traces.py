"""The tokens of the answers of a run folder, read from traces.jsonl.

Knows where they are and which line counts; nothing of what is done with them. Takes no lock and changes nothing,
so a run that goes on may be looked at: a line that is not at its end yet is passed over, as is a damaged one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError
from rstitch_local.problems.run_folder import TRACES_FILE, Key
from rstitch_local.sanitize import one_line
from rstitch_local.trace.record import Trace


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """An answer's tokens, with the id, sample and question it answers."""

    id: str
    sample: int
    question: str
    trace: Trace


class RunTraces:
    """The traces of a run folder: which there are is read at once, each of them when it is asked for.

    Args:
        folder: what `rstitch solve` wrote. One of a version that kept no tokens has no traces.

    Attributes:
        keys: the (id, sample) of all that can be read, in the order first solved.
        damaged: how many lines are passed over.

    Raises:
        InputError: the file is there and cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRACES_FILE
        self.damaged = 0
        self._places: dict[Key, int] = {}
        try:
            with self.path.open("rb") as file:
                place = 0
                for line in file:
                    record = _record(line)
                    if record is not None:
                        self._places[record["id"], record["sample"]] = place
                    elif line.endswith(b"\n"):
                        self.damaged += 1
                    place += len(line)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unreadable(self.path, error) from error

    @property
    def keys(self) -> list[Key]:
        """The (id, sample) of all that can be read, in the order first solved."""
        return list(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[StoredTrace]:
        return (self[key] for key in self._places)

    def __getitem__(self, key: Key) -> StoredTrace:
        """The trace of an answer; of one that was tried again, the last.

        Raises:
            KeyError: there is none.
            InputError: it is damaged, or the file has changed since and cannot be read.
        """
        place = self._places[key]
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                record = _record(file.readline())
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if record is None or (record["id"], record["sample"]) != key:
            raise InputError("Unreadable tokens", f"{self.path} has changed while it was read.")
        try:
            return StoredTrace(*key, str(record["question"]), Trace.from_dict(record))
        except (ValueError, KeyError) as error:
            raise InputError("Unreadable tokens", f"Those of {one_line(key[0])} in {self.path} are damaged.") from error


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, or None when it is no whole line of ours."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("steps"), dict):
        return None
    known = isinstance(record.get("id"), str) and isinstance(record.get("sample"), int)
    return record if known else None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError("Unreadable tokens", f"{path} cannot be read: {error.strerror or error}.")
