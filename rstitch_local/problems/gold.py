r"""The gold answer of one row of a problem file.

Covers the notations of published benchmarks: `#### 18`, 27.0 for 27, a list of strings, the last `\boxed{}` of a
solution.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from rstitch_local.problems.boxes import last_boxed

ANSWER_FIELDS = ("answer", "final_answer")
SOLUTION_FIELD = "solution"
_LOOKS_LIKE_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")


class UnusableGoldError(ValueError):
    """A gold field has a type that is not an answer; the text says which."""


def gold_of(row: Mapping[str, object], answer_field: str | None = None) -> str | None:
    r"""Return the gold answer of a row as text, or None if it has none.

    Args:
        row: one object of a problem file.
        answer_field: name of the field; None for `answer`, else `final_answer`, else the last `\boxed{}` of
            `solution`.

    Raises:
        UnusableGoldError: the field holds an object, a nested list or a number that is not finite.
    """
    several = row.get("is_multiple_answer") is True
    if answer_field is not None:
        return _from_value(row.get(answer_field), answer_field, several)
    for name in ANSWER_FIELDS:
        gold = _from_value(row.get(name), name, several)
        if gold is not None:
            return gold
    solution = row.get(SOLUTION_FIELD)
    return last_boxed(solution) if isinstance(solution, str) else None


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
            raise UnusableGoldError(f'the field "{name}" is not a finite number')
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, str):
        return _from_text(value)
    raise UnusableGoldError(
        f'the field "{name}" holds {"a list" if isinstance(value, list) else "an object"}, not an answer'
    )


def _from_text(text: str) -> str:
    if "####" in text:
        return text.rpartition("####")[2].strip()
    boxed = last_boxed(text)
    return boxed if boxed is not None else text.strip()
