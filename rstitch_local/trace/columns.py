"""Steps as columns of JSON, a fifth of the size of one object per token.

Computed numbers are rounded: entropies and probabilities to 5 significant digits, milliseconds to 4. Everything else
is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step

STORED_NAMES = {"evaluated_tokens": "caught_up", "swap_entropy": "unsure"}
"""Names in files of the Step fields that have another name there."""

_LETTERS = {Role.SLM: "S", Role.LLM: "L"}
_ROLES = {letter: role for role, letter in _LETTERS.items()}
_ENTROPY_DIGITS, _MS_DIGITS = 5, 4


def pack(steps: Sequence[Step]) -> dict[str, Any]:
    """Return columns of equal length, ready for JSON; `unpack` also needs the text of the answer.

    Returns:
        role (a string with one letter per token, S or L), token (ids), length (characters of the token's text),
        entropy, top1, caught_up (`Step.evaluated_tokens`) and ms, as in Step; unsure (`Step.swap_entropy`) and margin
        as lists of [index, value] for the steps that have one. With different tokenizers also replaced_bytes, as
        [index, value] for the steps where it is not 0.
    """
    columns = {
        "role": "".join(_LETTERS[step.role] for step in steps),
        "token": [step.token for step in steps],
        "length": [len(step.text) for step in steps],
        "entropy": [_rounded(step.entropy, _ENTROPY_DIGITS) for step in steps],
        "top1": [_rounded(step.top1, _ENTROPY_DIGITS) for step in steps],
        "caught_up": [step.evaluated_tokens for step in steps],
        "ms": [_rounded(step.ms, _MS_DIGITS) for step in steps],
        "unsure": _sparse(step.swap_entropy for step in steps),
        "margin": _sparse(step.margin for step in steps),
    }
    if any(step.replaced_bytes is not None for step in steps):
        columns["replaced_bytes"] = [
            [index, step.replaced_bytes] for index, step in enumerate(steps) if step.replaced_bytes
        ]
    return columns


def unpack(columns: Mapping[str, Any], text: str) -> list[Step]:
    """Return the steps of `pack`, numbered from 0.

    Args:
        columns: the columns that `pack` returned.
        text: the text of the answer.

    Raises:
        ValueError, TypeError, KeyError: the columns are invalid, or belong to another text.
    """
    if not isinstance(text, str):
        raise TypeError("the text is not a string")
    ends = list(accumulate(columns["length"], initial=0))
    if ends[-1] != len(text) or any(end < start for start, end in pairwise(ends)):
        raise ValueError("the lengths of the tokens do not match the text")
    swap_entropies = {int(index): float(entropy) for index, entropy in columns["unsure"]}
    margins = {int(index): float(value) for index, value in columns["margin"]}
    replaced = {int(index): int(count) for index, count in columns.get("replaced_bytes", ())}
    unreplaced = 0 if "replaced_bytes" in columns else None
    rows = zip(
        columns["role"],
        columns["token"],
        pairwise(ends),
        columns["entropy"],
        columns["top1"],
        columns["caught_up"],
        columns["ms"],
        strict=True,
    )
    return [
        Step(
            position=position,
            role=_ROLES[letter],
            token=int(token),
            text=text[start:end],
            entropy=float(entropy),
            top1=float(top1),
            evaluated_tokens=int(evaluated_tokens),
            ms=float(ms),
            swap_entropy=swap_entropies.get(position),
            margin=margins.get(position),
            replaced_bytes=replaced.get(position, unreplaced),
        )
        for position, (letter, token, (start, end), entropy, top1, evaluated_tokens, ms) in enumerate(rows)
    ]


def _sparse(values: Iterable[float | None]) -> list[list[float]]:
    return [[index, _rounded(value, _ENTROPY_DIGITS)] for index, value in enumerate(values) if value is not None]


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
