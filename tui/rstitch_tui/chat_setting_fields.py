"""The fields of the chat settings form: numbers with their ranges, kinds of routers, thinking, stop strings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class NumberField:
    """A number with its range; `hint` explains it."""

    name: str
    label: str
    kind: Callable[[str], float]
    low: float
    high: float
    hint: str

    def parse(self, text: str) -> float:
        """Return the number; raises ValueError with a message for the user."""
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"Not a {'whole ' if self.kind is int else ''}number.") from None
        if not self.low <= value <= self.high:
            if math.isinf(self.high):
                raise ValueError(f"Must be {self.low:,} or more.")
            raise ValueError(f"Must be between {self.low:,} and {self.high:,}.")
        return value


NUMBERS = (
    NumberField("temperature", "Temperature", float, 0, 100, "0 selects the most likely token."),
    NumberField("top_p", "Top-p", float, 0, 1, "Most likely tokens up to this sum; 1: all."),
    NumberField("top_k", "Top-k", int, 0, 1 << 31, "The k most likely tokens; 0: all."),
    NumberField("min_p", "Min-p", float, 0, 1, "Least share of the top probability; 0: all."),
    NumberField("max_tokens", "Max tokens", int, 1, math.inf, "New tokens per answer."),
    NumberField("seed", "Seed", int, -math.inf, math.inf, "The same seed repeats the answer."),
)
PROBABILITY = NumberField("probability", "", float, 0, 1, "From 0 to 1.")
"""The parameter of a router kind that has one other than tau."""


@dataclass(frozen=True)
class RouterKind:
    """A kind of router in the form.

    Attributes:
        name: first part of its spec.
        title: label in the list.
        explanation: shown below the title.
        parameter: label of its parameter, "" if it has none or if it is tau.
        default: default of the parameter.
    """

    name: str
    title: str
    explanation: str
    parameter: str = ""
    default: float = 0.0


ROUTERS = (
    RouterKind("", "Pair's default", ""),
    RouterKind("entropy", "Entropy", "Above tau the LLM takes over, otherwise the SLM generates."),
    RouterKind(
        "confidence",
        "Confidence",
        "The LLM takes over where the SLM's top probability is below a threshold.",
        "Threshold",
        0.9,
    ),
    RouterKind(
        "random",
        "Random",
        "Each token goes to the LLM with a fixed probability: a baseline for comparisons.",
        "LLM probability",
        0.5,
    ),
    RouterKind("slm", "SLM only", "The SLM generates every token."),
    RouterKind("llm", "LLM only", "The LLM generates every token."),
)
THINKING = {None: "Model's default", True: "On", False: "Off"}
