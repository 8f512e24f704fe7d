"""Generates English word problems with whole-number arithmetic, each with its worked solutions.

`generate(seed, index)` always gives the same problem, on every platform and Python version, because it draws only
from `random.Random` seeded with a string. Numbers stay between 1 and 999; products are of up to three digits by
one; every division is exact. Knows stories and steps; knows nothing of tokens, of models or of files.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from rstitch_local.builtin import stories
from rstitch_local.builtin.draft import Draft, UnsuitableError
from rstitch_local.builtin.solutions import Step, long_solution, short_solution

TRAIN_SEED = 1
EVALUATION_SEED = 2
EXAMPLES_SEED = 3

STEP_COUNTS = (2, 3, 4, 5, 6)
STEP_WEIGHTS = (25, 30, 25, 12, 8)


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A question, its answer, what it looks for, and the steps that lead there."""

    question: str
    answer: int
    goal: str
    steps: tuple[Step, ...]

    @property
    def long_solution(self) -> str:
        """The answer in the large model's manner."""
        return long_solution(self.goal, self.steps)

    @property
    def short_solution(self) -> str:
        """The answer in the small model's manner."""
        return short_solution(self.steps)


def generate(seed: int, index: int, *, steps: int | None = None) -> WordProblem:
    """The problem number `index` of a seed; `steps` (1 to 6) fixes its number of steps."""
    rng = random.Random(f"rstitch demo {seed} {index}")
    wanted = steps if steps is not None else rng.choices(STEP_COUNTS, STEP_WEIGHTS)[0]
    while True:
        draft = Draft(rng, wanted)
        try:
            stories.tell(draft)
        except UnsuitableError:
            continue
        if len(draft.steps) == wanted:
            return WordProblem(draft.question, draft.steps[-1].result, draft.goal, tuple(draft.steps))


def drill(seed: int, index: int) -> WordProblem:
    """A bare sum, difference, product or exact quotient, to learn arithmetic from."""
    rng = random.Random(f"rstitch drill {seed} {index}")
    draft = Draft(rng, 1)
    while not draft.steps:
        try:
            stories.bare(draft)
        except UnsuitableError:
            continue
    return WordProblem(draft.question, draft.steps[-1].result, draft.goal, tuple(draft.steps))
