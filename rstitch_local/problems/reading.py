"""Problem files: JSONL or a JSON array, UTF-8, read into problems with an id, a question and a gold answer.

Knows the field names of the usual benchmarks. Knows nothing of prompts, models or grading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.gold import UnusableGoldError, gold_of
from rstitch_local.sanitize import one_line, shown_list

QUESTION_FIELDS = ("question", "problem")
ID_FIELDS = ("id", "unique_id", "idx", "problem_id", "question_id")
CONTEXT_FIELD = "context"


@dataclass(frozen=True, slots=True)
class Problem:
    """One question to be solved; `line` is its line (or its place in the array), from 1."""

    id: str
    question: str
    gold: str | None
    line: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be solved: its line (or its place in the array), from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fields:
    """The field that holds the question, the gold answer and the id; None looks for the usual names."""

    question: str | None = None
    answer: str | None = None
    id: str | None = None

    @classmethod
    def parse(cls, options: list[str]) -> Fields:
        """Read `question=NAME`, `answer=NAME` and `id=NAME`; raises UsageError for anything else."""
        chosen: dict[str, str] = {}
        for option in options:
            kind, equals, name = option.partition("=")
            if not equals or kind not in ("question", "answer", "id") or not name:
                raise UsageError(
                    "Unknown field",
                    f"`--field {option}` is invalid.",
                    "Use `--field question=NAME`, `--field answer=NAME` or `--field id=NAME`.",
                )
            chosen[kind] = name
        return cls(**chosen)


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """What a problem file holds: the problems in their order, the rows left out, and its SHA-256.

    `unit` is what rows are counted in: "line" of JSONL, "row" of an array.
    """

    path: Path
    sha256: str
    unit: str
    problems: list[Problem]
    bad_rows: list[BadRow] = field(default_factory=list)


def read_problems(path: Path, fields: Fields | None = None, *, strict: bool = False) -> ProblemFile:
    """Read a problem file.

    Args:
        path: JSONL (one object a line, empty lines skipped) or one JSON array of objects.
        fields: which field is what, where the usual names do not fit.
        strict: refuse the file at its first malformed row instead of leaving the row out.

    Raises:
        InputError: no such file, not UTF-8, empty, no question in any row, two rows with one id, or
            (strict) a malformed row.
    """
    fields = fields or Fields()
    try:
        if path.is_char_device() or path.is_block_device():
            raise InputError("Unreadable problem file", f"{path} is a device, which may never end.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("No such problem file", f"There is no file {path}.") from error
    except OSError as error:
        raise InputError("Unreadable problem file", f"{path} cannot be read: {error.strerror}.") from error
    text = _decoded(data, path)
    unit = "row" if _is_array(text) else "line"
    problems: list[Problem] = []
    bad_rows: list[BadRow] = []
    seen_fields: dict[str, None] = {}
    for line, row in _rows(text, path):
        outcome = row if isinstance(row, BadRow) else _problem_of(row, line, fields)
        if not isinstance(row, BadRow):
            seen_fields.update(dict.fromkeys(row))
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            bad_rows.append(outcome)
    if not problems and not bad_rows:
        raise InputError("Empty problem file", f"{path} holds no problem.")
    _refuse_unknown_fields(path, fields, seen_fields)
    if bad_rows and (strict or not problems):
        first = bad_rows[0]
        hint = "Without --strict such rows are left out and the others are solved." if problems else ""
        raise InputError("Malformed problem", f"{path}, {unit} {first.line}: {first.reason}.", hint)
    _refuse_duplicates(path, problems, unit)
    return ProblemFile(path, hashlib.sha256(data).hexdigest(), unit, problems, bad_rows)


def _decoded(data: bytes, path: Path) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("Not UTF-8", f"{path} is UTF-16.", "Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder counts from after the byte order mark when there is one.
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, offset) + 1
        raise InputError(
            "Not UTF-8",
            f"{path} is not valid UTF-8: byte {offset} (0x{data[offset]:02x}), on line {line}.",
            "Save it as UTF-8.",
        ) from error


def _is_array(text: str) -> bool:
    return text.lstrip().startswith("[")


def _rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, object] | BadRow]]:
    """Each row with its line from 1; a row that is no JSON object is a BadRow."""
    if _is_array(text):
        yield from ((place, _as_object(row, place)) for place, row in enumerate(_array(text, path), start=1))
        return
    # Only "\n" ends a line: a question may hold U+2028 and its like unescaped.
    for line, raw in enumerate(text.split("\n"), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw)
        except RecursionError:
            yield line, BadRow(line, "it is nested too deeply")
        except ValueError as error:
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            yield line, BadRow(line, f"it is not JSON ({what})")
        else:
            yield line, _as_object(row, line)


def _array(text: str, path: Path) -> list[object]:
    try:
        rows = json.loads(text)
    except RecursionError as error:
        raise InputError("Malformed problem file", f"{path} is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            "Malformed problem file",
            f"{path} starts a JSON array but is not valid JSON: "
            f"{error.msg} on line {error.lineno}, column {error.colno}.",
        ) from error
    except ValueError as error:
        raise InputError("Malformed problem file", f"{path} is not valid JSON: {error}.") from error
    assert isinstance(rows, list)
    return rows


def _as_object(row: object, line: int) -> dict[str, object] | BadRow:
    return row if isinstance(row, dict) else BadRow(line, "it is not a JSON object")


def _problem_of(row: Mapping[str, object], line: int, fields: Fields) -> Problem | BadRow:
    question = _first(row, (fields.question,) if fields.question else QUESTION_FIELDS)
    if question is None:
        wanted = fields.question or " or ".join(QUESTION_FIELDS)
        return BadRow(line, f"it has no question field ({wanted})")
    if not isinstance(question, str):
        return BadRow(line, "its question is not a text")
    if not question.strip():
        return BadRow(line, "its question is empty")
    context = row.get(CONTEXT_FIELD)
    if isinstance(context, str) and context.strip() and fields.question != CONTEXT_FIELD:
        question = f"{context.strip()}\n\n{question}"
    identifier = _first(row, (fields.id,) if fields.id else ID_FIELDS)
    if identifier is None:
        identifier = line
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int, float)):
        return BadRow(line, "its id is neither a text nor a number")
    try:
        gold = gold_of(row, fields.answer)
    except UnusableGoldError as error:
        return BadRow(line, str(error))
    problem = Problem(str(identifier), question, gold, line)
    if any(_has_lone_surrogate(text) for text in (problem.id, problem.question, problem.gold or "")):
        return BadRow(line, "it holds half a surrogate pair, which no text can hold")
    return problem


def _first(row: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((row[name] for name in names if row.get(name) is not None and row[name] != ""), None)


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _refuse_unknown_fields(path: Path, fields: Fields, seen: dict[str, None]) -> None:
    """A field nobody has is a mistake in the command or the wrong file, not a malformed row."""
    there = f"The fields are: {shown_list(seen)}."
    for kind, name in (("question", fields.question), ("answer", fields.answer), ("id", fields.id)):
        if name is not None and seen and name not in seen:
            raise InputError(f"No {kind} field", f'No row of {path} has a field "{one_line(name)}". {there}')
    if fields.question is None and seen and not any(name in seen for name in QUESTION_FIELDS):
        raise InputError(
            "No question field",
            f"No row of {path} has a field {' or '.join(QUESTION_FIELDS)}. {there}",
            "Name the one that holds the question: `--field question=NAME`.",
        )


def _refuse_duplicates(path: Path, problems: list[Problem], unit: str) -> None:
    first_lines: dict[str, int] = {}
    for problem in problems:
        first = first_lines.setdefault(problem.id, problem.line)
        if first != problem.line:
            raise InputError(
                "Duplicate ids",
                f'{unit.capitalize()}s {first} and {problem.line} of {path} both have the id "{one_line(problem.id)}".',
                "Name a field that differs in every row: `--field id=NAME`.",
            )
