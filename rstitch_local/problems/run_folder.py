"""Run folders: run.json with the settings, answers.jsonl with one answer per line, traces.jsonl, and a lock.

Creates, locks, reads, appends, repairs and rewrites them without losing a line. traces.jsonl, the tokens of the
answers, is read by problems/traces.py. Independent of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import (
    exists,
    is_file,
    open_regular,
    read_json,
    remove_unfinished,
    storage_error,
    write_atomic,
)
from rstitch_local.problems.answer_lines import Answer, line_of, open_answers, parse_answer
from rstitch_local.problems.lines import LineFile
from rstitch_local.sanitize import one_line

FORMAT = 1
RUN_FILE, ANSWERS_FILE, TRACES_FILE, LOCK_FILE = "run.json", "answers.jsonl", "traces.jsonl", "run.lock"
_MAX_HEADER_BYTES = 1 << 24
Key = tuple[str, int]


class RunFolder:
    """An open run folder, locked for this process until it is closed. Use it in `with`.

    Args:
        path: the folder; created if it does not exist.
        create: False to raise if the folder contains no run.

    Attributes:
        notice: what was repaired when the folder was opened, one sentence; usually "".

    Raises:
        StorageError: the folder cannot be created or written, or another process has it open.
        InputError: the folder contains no run (with `create=False`), or files of other programs, which are unchanged.

    A folder that is deleted, renamed or replaced while it is open is not written any more: every method that writes
    raises StorageError.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if not create and not is_file(path / RUN_FILE):
            raise InputError(
                "No run here", f"{path} contains no {RUN_FILE}.", "Use a folder that `rstitch solve` has created."
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._identity = _identity(path)
        except OSError as error:
            raise storage_error(path, error) from error
        self._lock = _locked(path)
        try:
            self._header = read_header(path)
            if self._header is None:
                for name in (ANSWERS_FILE, TRACES_FILE):
                    if exists(path / name):
                        raise InputError("Not a run folder", f"{path} contains {name} but no {RUN_FILE}.")
            self._answers, self._answers_file, self.notice = open_answers(path / ANSWERS_FILE)
            self._traces_file = LineFile.repaired(path / TRACES_FILE)
            for name in (RUN_FILE, ANSWERS_FILE):
                remove_unfinished(path / name)
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
        """Return the content of run.json, or None if there is none."""
        return self._header

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
            elif all(difference.startswith(("grader.", "fields.answer:")) for difference in differences):
                hint = f"Grade its answers with that field first: `rstitch grade {self.path} --field answer=NAME`."
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
        self._require_same_folder()
        self._answers_file.append(line_of(answer))
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
        self._require_same_folder()
        self._traces_file.append(line_of(record, separators=(",", ":")))

    def rewrite(self, change: Callable[[Answer], Answer]) -> None:
        """Replace every answer by `change(answer)`, all or none.

        Raises:
            StorageError: the file cannot be written; it is unchanged.
        """
        changed = [change(row) for row in self._answers]
        self._require_same_folder()
        data = b"".join(line_of(row) for row in changed)
        write_atomic(self.path / ANSWERS_FILE, data, what="answers")
        self._answers, self._answers_file = changed, LineFile(self.path / ANSWERS_FILE, len(data))

    def _write_header(self, header: dict[str, Any]) -> None:
        self._require_same_folder()
        write_atomic(self.path / RUN_FILE, json.dumps(header, indent=2, ensure_ascii=False) + "\n")
        self._header = header

    def _require_same_folder(self) -> None:
        """Raise StorageError if the path leads to another folder than the one that was opened and locked."""
        try:
            same = _identity(self.path) == self._identity
        except OSError:
            same = False
        if not same:
            raise StorageError(
                "Folder changed",
                f"{self.path} was deleted, renamed or replaced while it was in use.",
                "Run the same command again to resume it; a renamed folder needs its name back, or its new one.",
            )


def read_answers(folder: Path) -> dict[Key, Answer]:
    """Return the latest answer of every (id, sample) of a folder, without a lock; the folder is not changed.

    A run may be in progress: partial and invalid lines are skipped.

    Raises:
        InputError: there is no answers.jsonl, or it cannot be read.
    """
    path = folder / ANSWERS_FILE
    try:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError as error:
        raise InputError("No answers here", f"{folder} contains no {ANSWERS_FILE}.") from error
    except OSError as error:
        raise InputError("Unreadable answers", f"{path} cannot be read: {error.strerror or error}.") from error
    return {(row["id"], row["sample"]): row for row in map(parse_answer, lines) if row is not None}


def read_header(folder: Path) -> dict[str, Any] | None:
    """Return the content of run.json, or None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / RUN_FILE
    try:
        header = read_json(path, _MAX_HEADER_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError("Unreadable run", f"{path} cannot be read: {reason}.") from error
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


def _locked(path: Path) -> BaseFileLock:
    """Return the acquired lock of a folder. The operating system releases it when the process ends, however it ends."""
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StorageError(
            "Folder in use",
            f"Another rstitch process is writing to {path}.",
            "Wait for it to end, or use another folder.",
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error
    return lock


def _identity(path: Path) -> tuple[int, int]:
    """Return what distinguishes a folder from all others; raises OSError."""
    found = path.stat()
    return found.st_dev, found.st_ino
