"""English word problems with integer arithmetic and their worked solutions.

`generate(seed, index)` returns the same problem on every platform and Python version, because all random choices come
from `random.Random` seeded with a string. Numbers are between 1 and 999, products have a one-digit factor, and every
division is exact. Independent of tokens, models and files.
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
    """A question with its answer, what it asks for, and the steps of the solution."""

    question: str
    answer: int
    goal: str
    steps: tuple[Step, ...]

    @property
    def long_solution(self) -> str:
        """The answer in the style of the large model."""
        return long_solution(self.goal, self.steps)

    @property
    def short_solution(self) -> str:
        """The answer in the style of the small model."""
        return short_solution(self.steps)


def generate(seed: int, index: int, *, steps: int | None = None) -> WordProblem:
    """Return problem number `index` of a seed.

    Args:
        seed: the seed.
        index: number of the problem.
        steps: number of steps, 1 to 6; None for a random one.
    """
    rng = random.Random(f"rstitch demo {seed} {index}")
    step_count = steps if steps is not None else rng.choices(STEP_COUNTS, STEP_WEIGHTS)[0]
    while True:
        draft = Draft(rng, step_count)
        try:
            stories.tell(draft)
        except UnsuitableError:
            continue
        if len(draft.steps) == step_count:
            return WordProblem(draft.question, draft.steps[-1].result, draft.goal, tuple(draft.steps))


def drill(seed: int, index: int) -> WordProblem:
    """Return a single sum, difference, product or exact quotient, for training."""
    rng = random.Random(f"rstitch drill {seed} {index}")
    draft = Draft(rng, 1)
    while not draft.steps:
        try:
            stories.bare(draft)
        except UnsuitableError:
            continue
    return WordProblem(draft.question, draft.steps[-1].result, draft.goal, tuple(draft.steps))
