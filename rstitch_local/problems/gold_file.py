"""Gold answers by id, from a problem file or from a file that has only ids and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rstitch_local.errors import InputError
from rstitch_local.problems.gold import GOLD_FIELDS, gold_of
from rstitch_local.problems.reading import (
    ID_FIELDS,
    Fields,
    identifier_of,
    question_of,
    require_intact,
    require_named_fields,
    require_unique_ids,
)
from rstitch_local.problems.rows import BadRow, Row, parse_rows, read_rows
from rstitch_local.sanitize import shown_list


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """The gold answer of a problem. `question` is None if the file has none; `line` is the line or the position."""

    id: str
    gold: str | None
    question: str | None
    line: int


@dataclass(frozen=True, slots=True)
class GoldFile:
    """The gold answers of a file, in its order.

    Attributes:
        path: the file; `sha256` is its checksum.
        fields: the names with which it was read.
        unit: what the `line` of a row counts, "line" or "row".
        answers: one for each row.
        bad_rows: rows that are skipped.
        has_ids: whether the ids are those of a field, not line numbers.
    """

    path: Path
    sha256: str
    fields: Fields
    unit: str
    answers: Sequence[GoldAnswer]
    bad_rows: Sequence[BadRow]
    has_ids: bool


def read_gold(path: Path, fields: Fields, run: Mapping[str, Any]) -> GoldFile:
    """Read the gold answers of a file.

    Args:
        path: JSON Lines or a JSON array, as for `read_problems`; a question is not required.
        fields: names of the fields; None for those of the run if this is its problem file, else for the usual names.
        run: the settings of the run: its problem file and fields.

    Raises:
        InputError: the file cannot be read, has no gold answer, no field of this name, or an id twice.
    """
    rows = read_rows(path)
    if rows.sha256 == run.get("problems_sha256"):
        fields = _merged(fields, run.get("fields"))
    answers: list[GoldAnswer] = []
    bad_rows: list[BadRow] = []
    names: dict[str, None] = {}
    for answer in parse_rows(rows, lambda row, line: _answer(row, line, fields), names):
        if isinstance(answer, GoldAnswer):
            answers.append(answer)
        else:
            bad_rows.append(answer)
    require_named_fields(rows.source, fields, names)
    if all(answer.gold is None for answer in answers):
        first = f" {rows.unit.capitalize()} {bad_rows[0].line} is malformed: {bad_rows[0].reason}." if bad_rows else ""
        raise InputError(
            "No gold answers",
            f"No row of {path} has a gold answer. It is looked for in {fields.answer or ', '.join(GOLD_FIELDS)}; the "
            f"fields are: {shown_list(names)}.{first}",
            "Name the field with the gold answer: `--field answer=NAME`.",
        )
    require_unique_ids(rows, answers)
    has_ids = fields.id is not None or any(name in ID_FIELDS for name in names)
    return GoldFile(path, rows.sha256, fields, rows.unit, answers, bad_rows, has_ids)


def _answer(row: Row, line: int, fields: Fields) -> GoldAnswer:
    answer = GoldAnswer(identifier_of(row, line, fields), gold_of(row, fields.answer), question_of(row, fields), line)
    require_intact(row, fields, answer.id, answer.question or "", answer.gold)
    return answer


def _merged(fields: Fields, of_run: object) -> Fields:
    names = of_run if isinstance(of_run, Mapping) else {}
    given = {kind: name for kind, name in asdict(fields).items() if name is not None}
    return Fields.from_mapping({**{kind: name for kind, name in names.items() if isinstance(name, str)}, **given})
