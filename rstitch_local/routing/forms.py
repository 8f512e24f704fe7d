"""The built-in kinds of routers and their specs: `entropy:0.02` and the like.

Parses names and numbers. Learned routers (a file) and custom ones (registry.py) have specs of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.decoding.speculative import SpeculativeRouter
from rstitch_local.routing.rules import (
    ConfidenceRouter,
    EntropyRouter,
    FixedRouter,
    HysteresisRouter,
    MarginRouter,
    MomentumRouter,
    OneTokenRouter,
    RandomRouter,
    StayRouter,
    WindowRouter,
)


class Number(NamedTuple):
    """A number in a spec: its name in help texts, its bounds (inclusive), and whether it must be an integer."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    @property
    def requirement(self) -> str:
        """The valid values in words: "a number from 0 to 1"."""
        kind = "a whole number" if self.whole else "a number"
        return kind if math.isinf(self.high) else f"{kind} from {self.low:g} to {self.high:,g}"

    def parse(self, text: str) -> float | None:
        """Return the value of `text`, or None if it is not a number or out of bounds."""
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            return None
        # `+ 0` turns -0.0 into 0.0, so that zero has one spelling.
        return value + 0 if self.low <= value <= self.high else None


@dataclass(frozen=True, slots=True)
class Form:
    """The spec of one kind of router: a name and numbers.

    Attributes:
        name: the first part of the spec.
        numbers: the numbers that follow it.
        usual: an example value for each number, as text.
        rule: the class of the router, or a function that creates it; called with the numbers.
        attributes: the router's attributes that hold the numbers, so that a spec can be read off a router.
        optional: a further number, 0 if it is omitted.
        seeded: whether `rule` takes a seed after the numbers.
    """

    name: str
    numbers: tuple[Number, ...]
    usual: tuple[str, ...]
    rule: Callable[..., Router]
    attributes: tuple[str, ...] = ()
    optional: Number | None = None
    seeded: bool = False

    @property
    def spelling(self) -> str:
        """The syntax, such as `window:K:TAU`."""
        required = ":".join((self.name, *(number.name for number in self.numbers)))
        return f"{required}[:{self.optional.name}]" if self.optional else required

    @property
    def has_tau(self) -> bool:
        """Whether the last number is a tau."""
        return TAU in self.numbers

    def nearest(self, texts: Sequence[str]) -> str:
        """Return a valid spec that keeps the valid numbers of `texts` and replaces the others by usual ones."""
        padded = [*texts, *[""] * len(self.numbers)]
        numbers = [
            text.strip() if number.parse(text) is not None else usual
            for number, usual, text in zip(self.numbers, self.usual, padded, strict=False)
        ]
        try:
            self.parse(numbers)
        except ValueError:
            # Each number is valid, but not their combination.
            numbers = list(self.usual)
        return ":".join((self.name, *numbers))

    def parse(self, texts: Sequence[str]) -> list[float]:
        """Return the numbers of a spec.

        Raises:
            ValueError: the message completes a sentence that begins with the spec.
        """
        numbers = self.numbers
        if self.optional and len(texts) > len(numbers):
            numbers = (*numbers, self.optional)
        if len(texts) != len(numbers):
            takes = "one or two numbers" if self.optional else ("no number", "one number", "two numbers")[len(numbers)]
            raise ValueError(f"does not fit: {self.name} takes {takes}")
        values = []
        for number, text in zip(numbers, texts, strict=True):
            value = number.parse(text)
            if value is None:
                raise ValueError(f"needs {number.requirement} for {number.name}")
            values.append(value)
        if self.name == "hysteresis" and values[1] > values[0]:
            raise ValueError("has a LOW above its HIGH")
        return self._without_zero_option(values)

    def router(self, numbers: Sequence[float], seed: int) -> Router:
        """Create the router from the numbers of `parse`."""
        return self.rule(*numbers, seed) if self.seeded else self.rule(*numbers)

    def spec_of(self, router: Router) -> str:
        """Return the spec of a router of this kind."""
        values = self._without_zero_option([getattr(router, name) for name in self.attributes])
        return ":".join((self.name, *map(repr, values)))

    def _without_zero_option(self, values: list[float]) -> list[float]:
        return values[: len(self.numbers)] if self.optional and values and values[-1] == 0 else values


TAU = Number("TAU")
_TOKENS_HIGH = 10_000
# A CPU evaluates drafts up to about this length in one batch; llama.cpp's own programs draft 3 tokens by default.
_DRAFT_HIGH = 32

_ALL = (
    Form("entropy", (TAU,), ("0.02",), EntropyRouter, ("tau",)),
    Form("window", (Number("K", 1, _TOKENS_HIGH, whole=True), TAU), ("8", "0.003"), WindowRouter, ("length", "tau")),
    Form("hysteresis", (Number("HIGH"), Number("LOW")), ("0.03", "0.01"), HysteresisRouter, ("high", "low")),
    # At a BETA of 1 the first entropy would decide about the whole answer.
    Form("momentum", (Number("BETA", 0, 0.999), TAU), ("0.7", "0.01"), MomentumRouter, ("beta", "tau")),
    Form("stay", (Number("N", 1, _TOKENS_HIGH, whole=True), TAU), ("4", "0.02"), StayRouter, ("shortest", "tau")),
    Form("one", (TAU,), ("0.02",), OneTokenRouter, ("tau",)),
    Form("margin", (Number("M", 0, 1),), ("0.3",), MarginRouter, ("threshold",)),
    Form("confidence", (Number("T", 0, 1),), ("0.6",), ConfidenceRouter, ("threshold",)),
    Form("random", (Number("P", 0, 1),), ("0.2",), RandomRouter, ("share",), seeded=True),
    Form(
        "spec",
        (Number("N", 1, _DRAFT_HIGH, whole=True),),
        ("4",),
        SpeculativeRouter,
        ("length", "threshold"),
        Number("P", 0, 1),
    ),
    Form("slm", (), (), partial(FixedRouter, Role.SLM)),
    Form("llm", (), (), partial(FixedRouter, Role.LLM)),
)
FORMS = {form.name: form for form in _ALL}
"""Every built-in kind of router by its name."""


def spec_of(router: Router) -> str | None:
    """Return the spec of a built-in router, or None for any other.

    Args:
        router: the router; its current tau is used.

    Returns:
        For example "entropy:0.02" for `EntropyRouter(0.02)`; None for custom and learned routers.
    """
    if type(router) is FixedRouter:
        return router.start.value
    form = next((form for form in _ALL if form.rule is type(router)), None)
    return None if form is None else form.spec_of(router)
