"""A run folder: run.json says what was run, answers.jsonl has one line an answer, a lock keeps others out.

Knows how to make, lock, read, append, repair and rewrite it without losing a line. Knows nothing of models. The
tokens of the answers are in traces.jsonl beside them, which problems/traces.py reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any

from filelock import FileLock, Timeout

from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import storage_error, write_atomic
from rstitch_local.problems.lines import append_line, cut_last_line
from rstitch_local.sanitize import one_line

FORMAT = 1
RUN_FILE, ANSWERS_FILE, TRACES_FILE, LOCK_FILE = "run.json", "answers.jsonl", "traces.jsonl", "run.lock"
# What a line must have, and as what, for its figures to be added up.
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
        path: the folder; it is made when it is not there.
        create: False refuses a folder that holds no run yet.

    Raises:
        StorageError: the folder cannot be made or written, or another process has it open.
        InputError: the folder holds no run (with `create=False`), or files that are none of ours; those are left
            as they are.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if not create and not (path / RUN_FILE).is_file():
            raise InputError("No run here", f"{path} holds no {RUN_FILE}.", "Name the folder `rstitch solve` wrote.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
        # The lock of the operating system goes with the process, however it ends.
        self._lock = FileLock(path / LOCK_FILE)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StorageError(
                "Folder in use",
                f"Another rstitch is working on {path}.",
                "Wait for it, or give this run a folder of its own.",
            ) from error
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            if self.header() is None:
                for name in (ANSWERS_FILE, TRACES_FILE):
                    if (path / name).exists():
                        raise InputError("Not a run folder", f"{path} holds {name} but no {RUN_FILE}.")
            self._answers = self._open_answers()
            cut_last_line(path / TRACES_FILE)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    @property
    def answers(self) -> list[Answer]:
        """One line for every (id, sample), the latest where there are several, in the order first solved."""
        latest: dict[Key, Answer] = {}
        for row in self._answers:
            latest[row["id"], row["sample"]] = row
        return list(latest.values())

    @property
    def line_count(self) -> int:
        """How many lines there are, those that a later one replaced included."""
        return len(self._answers)

    def done(self) -> set[Key]:
        """The (id, sample) that need not be solved again; one that ended in an error is tried again."""
        return {(row["id"], row["sample"]) for row in self.answers if row["stop"] != "error"}

    def header(self) -> dict[str, Any] | None:
        """What run.json says, or None when there is none; raises InputError when it cannot be read."""
        return read_header(self.path)

    def begin(self, settings: Mapping[str, Any], information: Mapping[str, Any]) -> None:
        """Write run.json, or go on with the one that is there.

        Args:
            settings: what makes answers comparable; a folder made with others is refused.
            information: what is merely good to know; the latest replaces what was there, but for `created`.

        Raises:
            InputError: the folder was made with other settings.
            StorageError: run.json cannot be written.
        """
        header = self.header()
        if header is None:
            header = {"format": FORMAT, "settings": settings, "information": {}}
        differences = different_settings(header["settings"], settings)
        if differences:
            hint = "Use the same settings to go on with it, or another --out."
            if all(difference.startswith("grader.") for difference in differences):
                hint = f"`rstitch grade {self.path}` grades what is there with the grader of today."
            raise InputError(
                "Other settings", f"{self.path} was made with other settings: {'; '.join(differences)}.", hint
            )
        created = header["information"].get("created") or information.get("created")
        self._write_header({**header, "information": {**information, "created": created}})

    def change_setting(self, name: str, value: Any) -> None:
        """Replace one setting in run.json, for answers that were all brought in line with it."""
        header = self.header()
        assert header is not None
        self._write_header({**header, "settings": {**header["settings"], name: value}})

    def update_information(self, information: Mapping[str, Any]) -> None:
        """Add to the information in run.json."""
        header = self.header()
        assert header is not None
        self._write_header({**header, "information": {**header["information"], **information}})

    def append(self, answer: Answer) -> None:
        """Add one line and see it onto the disk; raises StorageError and leaves the file as it was."""
        append_line(self.path / ANSWERS_FILE, _line(answer))
        self._answers.append(answer)

    def append_trace(self, key: Key, question: str, columns: Mapping[str, Any]) -> None:
        """Add the tokens of an answer to traces.jsonl, before the answer itself is appended.

        A file of its own, because answers are all held in memory and rewritten when they are graded again, and
        their tokens are ten times as much. Of an answer that was tried again the last line counts.

        Args:
            key: the (id, sample) of the answer.
            question: what was asked, for those who want to ask the models again.
            columns: what `Trace.to_columns` gives.

        Raises:
            StorageError: it cannot be written; the file is as it was.
        """
        identifier, sample = key
        # Without blanks: they would be a tenth of it.
        record = {"id": identifier, "sample": sample, "question": question, **columns}
        append_line(self.path / TRACES_FILE, _line(record, separators=(",", ":")))

    def rewrite(self, change: Callable[[Answer], Answer]) -> None:
        """Replace every line by what `change` makes of it, all or nothing; raises StorageError."""
        changed = [change(row) for row in self._answers]
        write_atomic(self.path / ANSWERS_FILE, b"".join(_line(row) for row in changed), what="answers")
        self._answers = changed

    def _write_header(self, header: Mapping[str, Any]) -> None:
        write_atomic(self.path / RUN_FILE, json.dumps(header, indent=2, ensure_ascii=False) + "\n")

    def _open_answers(self) -> list[Answer]:
        """Read answers.jsonl and cut off a last line that a crash left unfinished."""
        path = self.path / ANSWERS_FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(path, error) from error
        rows: list[Answer] = []
        lines = data.split(b"\n")
        kept_bytes = 0
        for place, line in enumerate(lines, start=1):
            row = _row(line)
            if row is not None:
                rows.append(row)
            elif line.strip():
                if any(after.strip() for after in lines[place:]):
                    raise InputError(
                        "Unreadable answers",
                        f"Line {place} of {path} is not a line of answers.",
                        "Correct or remove that line, or use another folder.",
                    )
                self._cut(path, kept_bytes)
                break
            kept_bytes += len(line) + 1
        else:
            if lines[-1].strip():
                self._end_line(path)
        return rows

    def _cut(self, path: Path, size_bytes: int) -> None:
        try:
            os.truncate(path, size_bytes)
        except OSError as error:
            raise storage_error(path, error) from error

    def _end_line(self, path: Path) -> None:
        """A whole answer whose line end alone is missing is kept."""
        try:
            with path.open("ab") as file:
                file.write(b"\n")
        except OSError as error:
            raise storage_error(path, error) from error


def read_answers(folder: Path) -> dict[Key, Answer]:
    """The answers of a folder by (id, sample), the latest of each, without a lock and without changing anything.

    A run may be going on in it: a line that is not at its end yet, or is none of ours, is passed over.

    Raises:
        InputError: there is no answers.jsonl, or it cannot be read.
    """
    path = folder / ANSWERS_FILE
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise InputError("No answers here", f"{folder} holds no {ANSWERS_FILE}.") from error
    except OSError as error:
        raise InputError("Unreadable answers", f"{path} cannot be read: {error.strerror or error}.") from error
    return {(row["id"], row["sample"]): row for row in map(_row, lines) if row is not None}


def read_header(folder: Path) -> dict[str, Any] | None:
    """What run.json says, or None when there is none; raises InputError when it cannot be read."""
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
        raise InputError("Unreadable run", f"{path} is not a run this version of rstitch can read.")
    return header


def different_settings(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs, as "name: old -> new", nested settings with a dot in their name."""
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
    """The answer on a line, or None when it is none."""
    try:
        # NaN and infinities are no JSON, though Python reads them.
        row = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not row.keys() >= _TYPES.keys():
        return None
    counted = all(_are_counts(row.get(name), keys) for name, keys in _COUNTS.items())
    evaluated = row.get("evaluated")
    split = isinstance(evaluated, dict) and all(_are_counts(evaluated.get(role), _KINDS) for role in ("slm", "llm"))
    return row if counted and split and all(isinstance(row[name], kind) for name, kind in _TYPES.items()) else None


def _are_counts(value: object, keys: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), int) for key in keys)
