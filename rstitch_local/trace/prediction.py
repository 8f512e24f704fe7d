"""A model's prediction for one position of an answer. Data only: evaluating it is the engine's task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible next token: its id, its text with control tokens spelled out, its probability."""

    token: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's distribution over the next token: normalized entropy, and the most likely tokens in order."""

    entropy: float
    candidates: list[Candidate]
