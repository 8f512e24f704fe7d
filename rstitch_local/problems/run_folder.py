"""Run folders: run.json with the settings, answers.jsonl with one answer per line, traces.jsonl, and a lock.

Creates, locks, reads, appends, repairs and rewrites them without losing a line. traces.jsonl, the tokens of the
answers, is read by problems/traces.py. Independent of models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from filelock import FileLock, Timeout

from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import storage_error, write_atomic
from rstitch_local.problems.lines import append_line, remove_partial_line
from rstitch_local.sanitize import one_line

FORMAT = 1
RUN_FILE, ANSWERS_FILE, TRACES_FILE, LOCK_FILE = "run.json", "answers.jsonl", "traces.jsonl", "run.lock"
# Required fields of an answer and their types, so that metrics can be computed.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "sample": int, "answer": (str, NoneType), "gold": (str, NoneType), "correct": (bool, NoneType),
    "text": str, "stop": str, "wall_ms": (int, float, NoneType),
}  # fmt: skip
_COUNTS = {"tokens": ("slm", "llm"), "swaps": ("up", "down")}
_KINDS = ("prompt", "catch_up", "decode")
Answer = dict[str, Any]
Key = tuple[str, int]


class RunFolder:
    """An open run folder, locked for this process until it is closed. Use it in `with`.

    Args:
        path: the folder; created if it does not exist.
        create: False to raise if the folder contains no run.

    Raises:
        StorageError: the folder cannot be created or written, or another process has it open.
        InputError: the folder contains no run (with `create=False`), or files of other programs, which are unchanged.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if not create and not (path / RUN_FILE).is_file():
            raise InputError(
                "No run here", f"{path} contains no {RUN_FILE}.", "Use a folder that `rstitch solve` has created."
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
        # The operating system releases the lock when the process ends, however it ends.
        self._lock = FileLock(path / LOCK_FILE)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StorageError(
                "Folder in use",
                f"Another rstitch process is writing to {path}.",
                "Wait for it to end, or use another folder.",
            ) from error
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            if self.header() is None:
                for name in (ANSWERS_FILE, TRACES_FILE):
                    if (path / name).exists():
                        raise InputError("Not a run folder", f"{path} contains {name} but no {RUN_FILE}.")
            self._answers = self._open_answers()
            remove_partial_line(path / TRACES_FILE)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    @property
    def answers(self) -> list[Answer]:
        """The latest answer of every (id, sample), in the order in which they were first solved."""
        latest: dict[Key, Answer] = {}
        for row in self._answers:
            latest[row["id"], row["sample"]] = row
        return list(latest.values())

    @property
    def line_count(self) -> int:
        """Number of lines in answers.jsonl, including those that a later line replaces."""
        return len(self._answers)

    def done(self) -> set[Key]:
        """Return the (id, sample) of all answers that did not end in an error."""
        return {(row["id"], row["sample"]) for row in self.answers if row["stop"] != "error"}

    def header(self) -> dict[str, Any] | None:
        """Return the content of run.json, or None if there is none.

        Raises:
            InputError: it cannot be read.
        """
        return read_header(self.path)

    def begin(self, settings: Mapping[str, Any], information: Mapping[str, Any]) -> None:
        """Write run.json, or resume the existing run.

        Args:
            settings: everything that the answers of one folder must have in common.
            information: anything else; replaces the existing information, except `created`.

        Raises:
            InputError: the existing run has other settings.
            StorageError: run.json cannot be written.
        """
        header = self.header()
        if header is None:
            header = {"format": FORMAT, "settings": settings, "information": {}}
        differences = different_settings(header["settings"], settings)
        if differences:
            hint = "Use the same settings to resume it, or another --out."
            if all(difference.startswith("grader.") for difference in differences):
                hint = f"Run `rstitch grade {self.path}` to grade its answers with the current grader."
            raise InputError(
                "Settings differ", f"{self.path} was created with other settings: {'; '.join(differences)}.", hint
            )
        created = header["information"].get("created") or information.get("created")
        self._write_header({**header, "information": {**information, "created": created}})

    def change_setting(self, name: str, value: Any) -> None:
        """Replace one setting in run.json, after all answers have been changed accordingly."""
        header = self.header()
        assert header is not None
        self._write_header({**header, "settings": {**header["settings"], name: value}})

    def update_information(self, information: Mapping[str, Any]) -> None:
        """Add entries to the information in run.json."""
        header = self.header()
        assert header is not None
        self._write_header({**header, "information": {**header["information"], **information}})

    def append(self, answer: Answer) -> None:
        """Append an answer and flush it to disk.

        Raises:
            StorageError: it cannot be written; the file is unchanged.
        """
        append_line(self.path / ANSWERS_FILE, _line(answer))
        self._answers.append(answer)

    def append_trace(self, key: Key, question: str, columns: Mapping[str, Any]) -> None:
        """Append the tokens of an answer to traces.jsonl. Call this before the answer itself is appended.

        Tokens have a separate file because answers are held in memory and rewritten by regrading, and tokens take
        ten times as much space. If an answer is retried, its last line counts.

        Args:
            key: the (id, sample) of the answer.
            question: the question, so that the answer can be evaluated again.
            columns: the result of `Trace.to_columns`.

        Raises:
            StorageError: it cannot be written; the file is unchanged.
        """
        identifier, sample = key
        # Spaces after separators would take a tenth of the file.
        record = {"id": identifier, "sample": sample, "question": question, **columns}
        append_line(self.path / TRACES_FILE, _line(record, separators=(",", ":")))

    def rewrite(self, change: Callable[[Answer], Answer]) -> None:
        """Replace every answer by `change(answer)`, all or none.

        Raises:
            StorageError: the file cannot be written; it is unchanged.
        """
        changed = [change(row) for row in self._answers]
        write_atomic(self.path / ANSWERS_FILE, b"".join(_line(row) for row in changed), what="answers")
        self._answers = changed

    def _write_header(self, header: Mapping[str, Any]) -> None:
        write_atomic(self.path / RUN_FILE, json.dumps(header, indent=2, ensure_ascii=False) + "\n")

    def _open_answers(self) -> list[Answer]:
        """Read answers.jsonl and remove a partial last line."""
        path = self.path / ANSWERS_FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(path, error) from error
        rows: list[Answer] = []
        lines = data.split(b"\n")
        valid_bytes = 0
        for number, line in enumerate(lines, start=1):
            row = _row(line)
            if row is not None:
                rows.append(row)
            elif line.strip():
                if any(later.strip() for later in lines[number:]):
                    raise InputError(
                        "Unreadable answers",
                        f"Line {number} of {path} is not an answer.",
                        "Correct or remove that line, or use another folder.",
                    )
                self._truncate(path, valid_bytes)
                break
            valid_bytes += len(line) + 1
        else:
            if lines[-1].strip():
                # The answer is complete, only its line end is missing.
                self._end_line(path)
        return rows

    def _truncate(self, path: Path, size_bytes: int) -> None:
        try:
            os.truncate(path, size_bytes)
        except OSError as error:
            raise storage_error(path, error) from error

    def _end_line(self, path: Path) -> None:
        try:
            with path.open("ab") as file:
                file.write(b"\n")
        except OSError as error:
            raise storage_error(path, error) from error


def read_answers(folder: Path) -> dict[Key, Answer]:
    """Return the latest answer of every (id, sample) of a folder, without a lock; the folder is not changed.

    A run may be in progress: partial and invalid lines are skipped.

    Raises:
        InputError: there is no answers.jsonl, or it cannot be read.
    """
    path = folder / ANSWERS_FILE
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise InputError("No answers here", f"{folder} contains no {ANSWERS_FILE}.") from error
    except OSError as error:
        raise InputError("Unreadable answers", f"{path} cannot be read: {error.strerror or error}.") from error
    return {(row["id"], row["sample"]): row for row in map(_row, lines) if row is not None}


def read_header(folder: Path) -> dict[str, Any] | None:
    """Return the content of run.json, or None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / RUN_FILE
    try:
        header = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("Unreadable run", f"{path} cannot be read: {error}.") from error
    if (
        not isinstance(header, dict)
        or not all(isinstance(header.get(key), dict) for key in ("settings", "information"))
        or header.get("format") != FORMAT
    ):
        raise InputError("Unreadable run", f"{path} is not a run that this version of rstitch can read.")
    return header


def different_settings(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the differences as "name: old -> new"; names of nested settings contain dots."""
    differences: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += different_settings(before, after, f"{prefix}{key}.")
        elif before != after:
            differences.append(f"{prefix}{key}: {_shown(before)} -> {_shown(after)}")
    return differences


def _shown(value: object) -> str:
    return "none" if value is None else one_line(value if isinstance(value, str) else json.dumps(value))


def _line(answer: Answer, separators: tuple[str, str] | None = None) -> bytes:
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=separators)
    return text.encode("utf-8", "replace") + b"\n"


def _row(line: bytes) -> Answer | None:
    try:
        # NaN and infinities are not JSON, though Python reads them.
        row = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not row.keys() >= _TYPES.keys():
        return None
    if not all(isinstance(row[name], kind) for name, kind in _TYPES.items()):
        return None
    evaluated = row.get("evaluated")
    valid_counts = (
        all(_are_counts(row.get(name), keys) for name, keys in _COUNTS.items())
        and isinstance(evaluated, dict)
        and all(_are_counts(evaluated.get(role), _KINDS) for role in ("slm", "llm"))
    )
    return row if valid_counts else None


def _are_counts(value: object, keys: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), int) for key in keys)
