r"""The gold answer of one row of a problem file.

Covers the notations of published benchmarks: `#### 18`, 27.0 for 27, a list of strings, the last `\boxed{}` of a
solution.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from rstitch_local.problems.boxes import last_boxed
from rstitch_local.problems.rows import UnusableRowError, value_at

ANSWER_FIELDS = ("answer", "final_answer", "expected_answer", "Answer", "target")
SOLUTION_FIELD = "solution"
LABEL_FIELD = "label"
GOLD_FIELDS = (*ANSWER_FIELDS, SOLUTION_FIELD, LABEL_FIELD)
"""Names under which a gold answer is looked for, in this order."""
_LOOKS_LIKE_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")


def gold_of(row: Mapping[str, object], answer_field: str | None = None) -> str | None:
    r"""Return the gold answer of a row as text, or None if it has none.

    Args:
        row: one object of a problem file.
        answer_field: name of the field, with dots if it is in an object; None for the first of `GOLD_FIELDS` that
            holds one. Of `solution` only the last `\boxed{}` counts.

    Raises:
        UnusableRowError: the field holds an object, a nested list or a number that is not finite.
    """
    several = row.get("is_multiple_answer") is True
    if answer_field is not None:
        return _from_value(value_at(row, answer_field), answer_field, several)
    for name in ANSWER_FIELDS:
        gold = _from_value(row.get(name), name, several)
        if gold is not None:
            return gold
    solution = row.get(SOLUTION_FIELD)
    boxed = last_boxed(solution) if isinstance(solution, str) else None
    return _from_value(row.get(LABEL_FIELD), LABEL_FIELD, several) if boxed is None else boxed


def _from_value(value: object, name: str, several: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        parts = [_from_scalar(part, name) for part in value]
        # The grader reads commas as a list, all elements of which are required.
        gold = ", ".join(part for part in parts if part)
    else:
        gold = _from_scalar(value, name)
    if several and _LOOKS_LIKE_THOUSANDS.fullmatch(gold):
        gold = gold.replace(",", ", ")
    return gold or None


def _from_scalar(value: object, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnusableRowError(f'the field "{name}" is not a finite number')
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, str):
        return _from_text(value)
    raise UnusableRowError(
        f'the field "{name}" holds {"a list" if isinstance(value, list) else "an object"}, not an answer'
    )


def _from_text(text: str) -> str:
    if "####" in text:
        return text.rpartition("####")[2].strip()
    boxed = last_boxed(text)
    return boxed if boxed is not None else text.strip()
