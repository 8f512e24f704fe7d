"""A word problem under construction: its people and things, its sentences and its steps.

Every operation goes through `Draft.compute`, which raises `UnsuitableError` for results outside the domain (negative or
inexact results, numbers above 999, products of two long numbers); the generator then starts a new draft. Independent of
the kinds of stories.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rstitch_local.builtin import wording
from rstitch_local.builtin.solutions import Step

LARGEST = 999


class UnsuitableError(Exception):
    """The random numbers lead out of the domain; start a new draft."""


class Draft:
    """A problem under construction.

    Args:
        rng: source of all random choices.
        step_count: number of steps of the finished problem.
    """

    def __init__(self, rng: random.Random, step_count: int) -> None:
        self.rng = rng
        self.step_count = step_count
        self.sentences: list[str] = []
        self.steps: list[Step] = []
        self.goal = ""
        people = [(name, "she", "her") for name in wording.WOMEN] + [(name, "he", "him") for name in wording.MEN]
        (self.name, self.she, self.her), (self.friend, _, _), (self.third, _, _) = rng.sample(people, 3)
        self.things, self.box, self.boxes = rng.choice(wording.THINGS)

    @property
    def question(self) -> str:
        """The sentences as one text."""
        return " ".join(self.sentences)

    @property
    def missing(self) -> int:
        """Number of missing steps."""
        return self.step_count - len(self.steps)

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def spell(self, number: int) -> str:
        """Return a number as text, sometimes a small one as a word."""
        if 2 <= number <= 9 and self.chance(0.3):
            return wording.NUMBER_WORDS[number]
        return str(number)

    def say(self, templates: Sequence[str], **numbers: int) -> None:
        """Add one of the sentences, filled in with the people, the things and the numbers."""
        words = {key: self.spell(number) for key, number in numbers.items()}
        text = self.rng.choice(templates).format(
            name=self.name, she=self.she, She=self.she.capitalize(), her=self.her, friend=self.friend,
            third=self.third, things=self.things, box=self.box, boxes=self.boxes, **words,
        )  # fmt: skip
        self.sentences.append(text[0].upper() + text[1:])

    def compute(self, label: str, left: int, op: str, right: int) -> int:
        """Add a step and return its result; a product has its longer factor first."""
        if op == "*" and left < 10 <= right:
            left, right = right, left
        if right < 1 or (op in "*/" and not 2 <= right <= 9):
            raise UnsuitableError
        if (op == "-" and left <= right) or (op == "/" and (left % right or left // right < 2)):
            raise UnsuitableError
        step = Step(label, left, op, right)
        if not 1 <= step.result <= LARGEST or left > LARGEST or len(self.steps) >= self.step_count:
            raise UnsuitableError
        self.steps.append(step)
        return step.result

    def number(self, low: int, high: int) -> int:
        """Return a random number between `low` and `high`, inclusive."""
        return self.rng.randint(low, high)

    def amount(self, high: int = 300) -> int:
        """Return a random amount of things; about half are below 60."""
        if high > 60 and self.chance(0.45):
            return self.rng.randint(60, high)
        return self.rng.randint(5, min(high, 60))

    def small(self) -> int:
        """Return a random one-digit factor or divisor."""
        return self.rng.randint(2, 9)

    def divisor(self, number: int) -> int:
        """Return a random one-digit divisor of `number` with a quotient of at least 2."""
        fitting = [k for k in range(2, 10) if number % k == 0 and number // k >= 2]
        if not fitting:
            raise UnsuitableError
        return self.rng.choice(fitting)
