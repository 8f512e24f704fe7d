"""A problem while it is being written: its people and things, the sentences so far, the steps so far.

Every operation goes through `Draft.compute`, which refuses what the domain excludes (negative or inexact results,
numbers above 999, products of two long numbers) by raising `UnsuitableError`; the generator then starts a new draft.
Knows nothing of which stories exist.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rstitch_local.builtin import wording
from rstitch_local.builtin.solutions import Step

LARGEST = 999


class UnsuitableError(Exception):
    """The numbers drawn do not fit the domain; draw again."""


class Draft:
    """Collects one problem. `wanted` is the number of steps it should end with."""

    def __init__(self, rng: random.Random, wanted: int) -> None:
        self.rng = rng
        self.wanted = wanted
        self.sentences: list[str] = []
        self.steps: list[Step] = []
        self.goal = ""
        people = [(name, "she", "her") for name in wording.WOMEN] + [(name, "he", "him") for name in wording.MEN]
        (self.name, self.she, self.her), (self.friend, _, _), (self.third, _, _) = rng.sample(people, 3)
        self.things, self.box, self.boxes = rng.choice(wording.THINGS)

    @property
    def question(self) -> str:
        """The sentences so far."""
        return " ".join(self.sentences)

    @property
    def left(self) -> int:
        """How many steps are still wanted."""
        return self.wanted - len(self.steps)

    def chance(self, probability: float) -> bool:
        """True this often."""
        return self.rng.random() < probability

    def spell(self, number: int) -> str:
        """A number as the question writes it: now and then a small one is a word."""
        if 2 <= number <= 9 and self.chance(0.3):
            return wording.NUMBER_WORDS[number]
        return str(number)

    def say(self, templates: Sequence[str], **numbers: int) -> None:
        """Add one of the sentences, with the people, the things and these numbers filled in."""
        words = {key: self.spell(number) for key, number in numbers.items()}
        text = self.rng.choice(templates).format(
            name=self.name, she=self.she, She=self.she.capitalize(), her=self.her, friend=self.friend,
            third=self.third, things=self.things, box=self.box, boxes=self.boxes, **words,
        )  # fmt: skip
        self.sentences.append(text[0].upper() + text[1:])

    def compute(self, label: str, left: int, op: str, right: int) -> int:
        """Add a step and return its result; a product is written with its longer factor first."""
        if op == "*" and left < 10 <= right:
            left, right = right, left
        if right < 1 or (op in "*/" and not 2 <= right <= 9):
            raise UnsuitableError
        if (op == "-" and left <= right) or (op == "/" and (left % right or left // right < 2)):
            raise UnsuitableError
        step = Step(label, left, op, right)
        if not 1 <= step.result <= LARGEST or left > LARGEST or len(self.steps) >= self.wanted:
            raise UnsuitableError
        self.steps.append(step)
        return step.result

    def number(self, low: int, high: int) -> int:
        """Any number from low to high, both included."""
        return self.rng.randint(low, high)

    def amount(self, high: int = 300) -> int:
        """An amount of things, smaller ones more often: half are below 60."""
        if high > 60 and self.chance(0.45):
            return self.rng.randint(60, high)
        return self.rng.randint(5, min(high, 60))

    def small(self) -> int:
        """A one-digit factor or divisor."""
        return self.rng.randint(2, 9)

    def divisor(self, number: int) -> int:
        """A one-digit number that divides `number` exactly and leaves more than one."""
        fitting = [k for k in range(2, 10) if number % k == 0 and number // k >= 2]
        if not fitting:
            raise UnsuitableError
        return self.rng.choice(fitting)
