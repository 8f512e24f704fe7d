"""Problems with an id, a question and a gold answer, from the rows of a problem file.

Finds the field names of the usual benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.gold import UnusableGoldError, gold_of
from rstitch_local.problems.rows import BadRow, Row, Rows, read_rows, rows_from_python
from rstitch_local.sanitize import one_line, shown_list

QUESTION_FIELDS = ("question", "problem")
ID_FIELDS = ("id", "unique_id", "idx", "problem_id", "question_id")
CONTEXT_FIELD = "context"
_KINDS = ("question", "answer", "id")


@dataclass(frozen=True, slots=True)
class Problem:
    """A question to solve. `line` is its line in the file, or its position in an array; from 1."""

    id: str
    question: str
    gold: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields with the question, the gold answer and the id; None for the usual names."""

    question: str | None = None
    answer: str | None = None
    id: str | None = None

    @classmethod
    def parse(cls, options: list[str]) -> Fields:
        """Parse `question=NAME`, `answer=NAME` and `id=NAME`.

        Raises:
            UsageError: an option is none of these.
        """
        names: dict[str, str] = {}
        for option in options:
            kind, equals, name = option.partition("=")
            if not equals or not name:
                raise _unknown_field(option)
            names[kind] = name
        return cls.from_mapping(names)

    @classmethod
    def from_mapping(cls, names: Mapping[str, str]) -> Fields:
        """Return the fields of a mapping with the keys `question`, `answer` and `id`, all optional.

        Raises:
            UsageError: another key, or a name that is not a string.
        """
        for kind, name in names.items():
            if kind not in _KINDS or not isinstance(name, str):
                raise _unknown_field(f"{kind}={name}")
        return cls(**names)


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """The problems of a file, in its order.

    Attributes:
        name: name of the file.
        sha256: checksum of the file.
        unit: what the `line` of a row counts: "line" of JSON Lines, "row" of an array.
        problems: the problems.
        bad_rows: rows that are skipped.
    """

    name: str
    sha256: str
    unit: str
    problems: list[Problem]
    bad_rows: list[BadRow] = field(default_factory=list)


def read_problems(
    source: Path | Iterable[Mapping[str, Any]], fields: Fields | None = None, *, strict: bool = False
) -> ProblemFile:
    """Read a problem file, or rows from Python.

    Args:
        source: a file in UTF-8 with JSON Lines (empty lines are skipped) or one JSON array of objects; or mappings.
        fields: names of the fields; None for the usual names.
        strict: raise at the first malformed row instead of skipping it.

    Raises:
        InputError: no such file, not UTF-8, empty, no question in any row, two rows with the same id, or (strict) a
            malformed row.
    """
    fields = fields or Fields()
    rows = read_rows(source) if isinstance(source, Path) else rows_from_python(source)
    problems: list[Problem] = []
    bad_rows: list[BadRow] = []
    field_names: dict[str, None] = {}
    for line, row in rows.items:
        if not isinstance(row, BadRow):
            field_names.update(dict.fromkeys(row))
        problem = row if isinstance(row, BadRow) else _problem(row, line, fields)
        if isinstance(problem, Problem):
            problems.append(problem)
        else:
            bad_rows.append(problem)
    if not rows.items:
        raise InputError("Empty problem file", f"{rows.source} contains no problem.")
    _require_fields(rows.source, fields, field_names)
    if bad_rows and (strict or not problems):
        first = bad_rows[0]
        hint = "Omit --strict to skip malformed rows." if problems else ""
        raise InputError("Malformed problem", f"{rows.source}, {rows.unit} {first.line}: {first.reason}.", hint)
    _require_unique_ids(rows, problems)
    return ProblemFile(rows.name, rows.sha256, rows.unit, problems, bad_rows)


def _unknown_field(option: str) -> UsageError:
    return UsageError(
        "Unknown field",
        f"`--field {option}` is invalid.",
        "Use `--field question=NAME`, `--field answer=NAME` or `--field id=NAME`.",
    )


def _problem(row: Row, line: int, fields: Fields) -> Problem | BadRow:
    question = _first(row, (fields.question,) if fields.question else QUESTION_FIELDS)
    if question is None:
        return BadRow(line, f"it has no question field ({fields.question or ' or '.join(QUESTION_FIELDS)})")
    if not isinstance(question, str):
        return BadRow(line, "its question is not a string")
    if not question.strip():
        return BadRow(line, "its question is empty")
    context = row.get(CONTEXT_FIELD)
    if isinstance(context, str) and context.strip() and fields.question != CONTEXT_FIELD:
        question = f"{context.strip()}\n\n{question}"
    identifier = _first(row, (fields.id,) if fields.id else ID_FIELDS)
    if identifier is None:
        identifier = line
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int, float)):
        return BadRow(line, "its id is neither a string nor a number")
    try:
        gold = gold_of(row, fields.answer)
    except UnusableGoldError as error:
        return BadRow(line, str(error))
    problem = Problem(str(identifier), question, gold, line)
    if any(_has_lone_surrogate(text) for text in (problem.id, problem.question, problem.gold or "")):
        return BadRow(line, "it contains a lone surrogate, which is not valid in UTF-8")
    return problem


def _first(row: Row, names: tuple[str, ...]) -> object:
    return next((row[name] for name in names if row.get(name) is not None and row[name] != ""), None)


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _require_fields(source: str, fields: Fields, names: dict[str, None]) -> None:
    # A field that no row has is a wrong option or the wrong file, not a malformed row.
    existing = f"The fields are: {shown_list(names)}."
    for kind, name in asdict(fields).items():
        if name is not None and names and name not in names:
            raise InputError(f"No {kind} field", f'No row of {source} has a field "{one_line(name)}". {existing}')
    if fields.question is None and names and not any(name in names for name in QUESTION_FIELDS):
        raise InputError(
            "No question field",
            f"No row of {source} has a field {' or '.join(QUESTION_FIELDS)}. {existing}",
            "Name the field with the question: `--field question=NAME`.",
        )


def _require_unique_ids(rows: Rows, problems: list[Problem]) -> None:
    first_lines: dict[str, int] = {}
    for problem in problems:
        first = first_lines.setdefault(problem.id, problem.line)
        if first != problem.line:
            raise InputError(
                "Duplicate ids",
                f"{rows.unit.capitalize()}s {first} and {problem.line} of {rows.source} have the same id "
                f'"{one_line(problem.id)}".',
                "Name a field that differs in every row: `--field id=NAME`.",
            )
