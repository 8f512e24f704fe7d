"""The tokens of an answer as columns of JSON, a fifth of the size of one object a token.

Knows Step and nothing else. Numbers a model computed are rounded: entropies and probabilities to 5 significant
digits, milliseconds to 4. Everything else comes back as it was.
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
_SHARE_DIGITS, _MS_DIGITS = 5, 4


def pack(steps: Sequence[Step]) -> dict[str, Any]:
    """Columns of equal length, ready for JSON; `unpack` needs the answer's text besides.

    Returns:
        role (a string, a letter a token: S or L), token (ids), length (characters of its text), entropy, top1,
        evaluated_tokens, ms: each as in Step; and unsure and margin, [index, value] of those alone that have one.
    """
    return {
        "role": "".join(_LETTERS[step.role] for step in steps),
        "token": [step.token for step in steps],
        "length": [len(step.text) for step in steps],
        "entropy": [_rounded(step.entropy, _SHARE_DIGITS) for step in steps],
        "top1": [_rounded(step.top1, _SHARE_DIGITS) for step in steps],
        "caught_up": [step.evaluated_tokens for step in steps],
        "ms": [_rounded(step.ms, _MS_DIGITS) for step in steps],
        "unsure": _sparse(step.swap_entropy for step in steps),
        "margin": _sparse(step.margin for step in steps),
    }


def unpack(columns: Mapping[str, Any], text: str) -> list[Step]:
    """The steps of `pack`, numbered from 0.

    Args:
        columns: what `pack` gave.
        text: of the answer they are the tokens of.

    Raises:
        ValueError, TypeError, KeyError: these are no such columns, or those of another text.
    """
    ends = list(accumulate(columns["length"], initial=0))
    if ends[-1] != len(text) or any(end < start for start, end in pairwise(ends)):
        raise ValueError("the lengths of the tokens are not those of the text")
    unsure = {int(index): float(entropy) for index, entropy in columns["unsure"]}
    margin = {int(index): float(value) for index, value in columns["margin"]}
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
            swap_entropy=unsure.get(position),
            margin=margin.get(position),
        )
        for position, (letter, token, (start, end), entropy, top1, evaluated_tokens, ms) in enumerate(rows)
    ]


def _sparse(values: Iterable[float | None]) -> list[list[float]]:
    return [[index, _rounded(value, _SHARE_DIGITS)] for index, value in enumerate(values) if value is not None]


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
