"""Lookups of the inspector in an answer: swaps, rows of tokens, a token in the other model's candidates."""

from __future__ import annotations

from collections.abc import Sequence

from rstitch_local.trace.prediction import Candidate
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.token_view import TokenView


def swaps(trace: Trace) -> list[int]:
    """Return the indices of the steps at which control was passed to the other model."""
    steps = trace.steps
    return [
        index
        for index, step in enumerate(steps)
        if step.swap_entropy is not None or (index > 0 and step.role is not steps[index - 1].role)
    ]


def row_of(token: int, text: str, candidates: Sequence[Candidate]) -> int | None:
    """Return the row of a token in the other model's candidates.

    Ordinary tokens have the same id in both models; special tokens may share only the text.
    """
    for row, candidate in enumerate(candidates):
        # The text of an incomplete UTF-8 sequence cannot be compared.
        if candidate.token == token and (candidate.text == text or "\ufffd" in candidate.text):
            return row
    if not text or "\ufffd" in text:
        return None
    return next((row for row, candidate in enumerate(candidates) if candidate.text == text), None)


def cell_of(tokens: TokenView, index: int) -> tuple[int, int]:
    """Return row and column at which a token is drawn."""
    low, high = 0, max(0, tokens.size.height - 1)
    while low < high:
        middle = (low + high + 1) // 2
        first = tokens.token_at(0, middle)
        low, high = (middle, high) if first is not None and first <= index else (low, middle - 1)
    row = [tokens.token_at(x, low) for x in range(tokens.size.width)]
    if index in row:
        return low, row.index(index)
    # A token without text has no cell of its own: use the end of the token before it.
    before = [x for x, token in enumerate(row) if token is not None and token < index]
    return low, before[-1] if before else 0


def token_by_rows(tokens: TokenView, index: int, row: int, column: int, by: int) -> int:
    """Return the token `by` rows below (positive) or above `row`, at or left of `column`; `index` if there is none."""
    token = index
    # A long token covers several rows.
    while token == index and 0 <= row + by < tokens.size.height:
        row += by
        cells = (tokens.token_at(x, row) for x in range(min(column, tokens.size.width - 1), -1, -1))
        token = next((each for each in cells if each is not None), token)
    return token
