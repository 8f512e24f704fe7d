"""Problems with an id, a question and a gold answer, from the rows of a problem file.

Finds the field names of the usual benchmarks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.escapes import lost_backslash
from rstitch_local.problems.gold import GOLD_FIELDS, SOLUTION_FIELD, gold_of
from rstitch_local.problems.rows import (
    LONGEST_ROW,
    BadRow,
    Row,
    Rows,
    UnusableRowError,
    parse_rows,
    read_rows,
    rows_from_python,
    value_at,
)
from rstitch_local.sanitize import one_line, shown_list

QUESTION_FIELDS = ("question", "problem", "Question", "Problem")
ID_FIELDS = ("id", "unique_id", "idx", "problem_id", "question_id", "ID")
CONTEXT_FIELD = "context"
_MOST_BAD_ROWS = 1000
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = ("question", "answer", "id")


class _Identified(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def line(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """A question to solve. `line` is its line in the file, or its position in an array; from 1."""

    id: str
    question: str
    gold: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields with the question, the gold answer and the id; None for the usual names.

    A dot leads into an object: `extra.final`.
    """

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
        fields: names of the fields that the rows have.
    """

    name: str
    sha256: str
    unit: str
    problems: list[Problem]
    bad_rows: list[BadRow] = field(default_factory=list)
    fields: Sequence[str] = ()

    @property
    def gold_note(self) -> str:
        """What to know about missing gold answers before the problems are solved; empty if there are all."""
        ungraded = [problem for problem in self.problems if problem.gold is None]
        if not ungraded:
            return ""
        if len(ungraded) < len(self.problems):
            return (
                f"{len(ungraded)} of the {len(self.problems)} problems have no gold answer and will not be graded; the "
                f"first is {self.unit} {ungraded[0].line}."
            )
        return (
            "No problem has a gold answer, so the answers will not be graded. It is looked for in "
            f"{', '.join(GOLD_FIELDS)}; the fields are: {shown_list(self.fields)}. Name the right one with "
            "`--field answer=NAME`."
        )

    @property
    def has_unread_fields(self) -> bool:
        """Whether there are fields besides question, context and id, which may hold gold answers."""
        return not {*self.fields} <= {*QUESTION_FIELDS, *ID_FIELDS, CONTEXT_FIELD}


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
    names: dict[str, None] = {}
    for problem in parse_rows(rows, lambda row, line: _problem(row, line, fields), names):
        if isinstance(problem, Problem):
            problems.append(problem)
            continue
        bad_rows.append(problem)
        if len(bad_rows) >= _MOST_BAD_ROWS and len(bad_rows) > len(problems):
            _require_fields(rows.source, fields, names)
            raise _mostly_malformed(rows, bad_rows)
    if not problems and not bad_rows:
        raise InputError("Empty problem file", f"{rows.source} contains no problem.")
    _require_fields(rows.source, fields, names)
    if bad_rows and (strict or not problems):
        raise _malformed(rows, bad_rows, has_problems=bool(problems))
    require_unique_ids(rows, problems)
    return ProblemFile(rows.name, rows.sha256, rows.unit, problems, bad_rows, tuple(names))


def _malformed(rows: Rows, bad_rows: Sequence[BadRow], *, has_problems: bool) -> InputError:
    first, others = bad_rows[0], len(bad_rows) - 1
    more = f" {others} more {rows.unit}{'s are' if others > 1 else ' is'} malformed." if others else ""
    message = f"{rows.source}, {rows.unit} {first.line}: {first.reason}.{more}"
    hint = "Omit --strict to skip malformed rows." if has_problems else ""
    return InputError("Malformed problem", message, hint)


def _mostly_malformed(rows: Rows, bad_rows: Sequence[BadRow]) -> InputError:
    line = bad_rows[-1].line
    examples = "; ".join(f"{rows.unit} {row.line}: {row.reason}" for row in bad_rows[:3])
    rest = f" The other {rows.count - line:,} {rows.unit}s were not read." if rows.count > line else ""
    return InputError(
        "Malformed problem file",
        f"{len(bad_rows):,} of the first {line:,} {rows.unit}s of {rows.source} are malformed. {examples}.{rest}",
        "Use JSONL (one object per line) or one JSON array.",
    )


def _unknown_field(option: str) -> UsageError:
    return UsageError(
        "Unknown field",
        f"`--field {option}` is invalid.",
        "Use `--field question=NAME`, `--field answer=NAME` or `--field id=NAME`.",
    )


def _problem(row: Row, line: int, fields: Fields) -> Problem:
    question = question_of(row, fields)
    if question is None:
        raise UnusableRowError(f"it has no question field ({fields.question or ' or '.join(QUESTION_FIELDS[:2])})")
    problem = Problem(identifier_of(row, line, fields), question, gold_of(row, fields.answer), line)
    require_intact(row, fields, problem.id, question, problem.gold)
    return problem


def question_of(row: Mapping[str, object], fields: Fields) -> str | None:
    """Return the question of a row with its context, None if there is none; raise UnusableRowError."""
    question = _first(row, (fields.question,) if fields.question else QUESTION_FIELDS)
    if question is None:
        return None
    if not isinstance(question, str):
        raise UnusableRowError("its question is not a string")
    if not question.strip():
        raise UnusableRowError("its question is empty")
    context = row.get(CONTEXT_FIELD)
    if isinstance(context, str) and context.strip() and fields.question != CONTEXT_FIELD:
        question = f"{context.strip()}\n\n{question}"
    if len(question) > LONGEST_ROW:
        raise UnusableRowError(f"its question has {len(question):,} characters, more than {LONGEST_ROW:,}")
    return question


def identifier_of(row: Mapping[str, object], line: int, fields: Fields) -> str:
    """Return the id of a row, its line if it has none; raise UnusableRowError."""
    identifier = _first(row, (fields.id,) if fields.id else ID_FIELDS)
    if identifier is None:
        identifier = line
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int, float)):
        raise UnusableRowError("its id is neither a string nor a number")
    return str(identifier)


def require_intact(row: Row, fields: Fields, identifier: str, question: str, gold: str | None) -> None:
    """Raise UnusableRowError if a text of a row cannot be written, or lost a backslash of LaTeX."""
    if any(_LONE_SURROGATE.search(text) for text in (identifier, question, gold or "")):
        raise UnusableRowError("it contains a lone surrogate, which is not valid in UTF-8")
    source = row.get(SOLUTION_FIELD) if gold is None and fields.answer is None else gold
    for name, text in (("question", question), ("gold answer", source)):
        if isinstance(text, str) and (lost := lost_backslash(text)) is not None:
            control, command = lost
            raise UnusableRowError(f'its {name} has {control} where "{command}" is meant; write "\\{command}"')


def _first(row: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((value for name in names if (value := value_at(row, name)) is not None and value != ""), None)


def _require_fields(source: str, fields: Fields, names: dict[str, None]) -> None:
    require_named_fields(source, fields, names)
    if fields.question is None and names and not any(name in names for name in QUESTION_FIELDS):
        raise InputError(
            "No question field",
            f"No row of {source} has a field {' or '.join(QUESTION_FIELDS[:2])}. {_existing(names)}",
            "Name the field with the question: `--field question=NAME`.",
        )


def require_named_fields(source: str, fields: Fields, names: Collection[str]) -> None:
    """Raise InputError if no row has a field that was named: a wrong option or the wrong file, not a malformed row."""
    for kind, name in asdict(fields).items():
        if name is not None and names and not any(f"{known}.".startswith(f"{name}.") for known in names):
            message = f'No row of {source} has a field "{one_line(name)}". {_existing(names)}'
            raise InputError(f"No {kind} field", message)


def _existing(names: Iterable[str]) -> str:
    return f"The fields are: {shown_list(names)}."


def require_unique_ids(rows: Rows, problems: Iterable[_Identified]) -> None:
    """Raise InputError if two rows have the same id."""
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
