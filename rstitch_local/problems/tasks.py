"""The unit of work of a run: one sample of one problem, with its seed, and the settings common to all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Key


@dataclass(frozen=True, slots=True)
class Settings:
    """How the pair answers every problem of a run.

    max_tokens: longest answer; None for as many as the context holds.
    stop: strings that end an answer.
    """

    router: str
    sampling: Sampling
    prompt: Prompt
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One sample of one problem, with its seed."""

    problem: Problem
    sample: int
    seed: int

    @property
    def key(self) -> Key:
        """The (id, sample) of its answer in a run folder."""
        return self.problem.id, self.sample


def seed_of(base: int, identifier: str, sample: int) -> int:
    """Return a 63-bit seed that depends on the three arguments only, on every system."""
    digest = hashlib.sha256(f"{base}\0{identifier}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def tasks_of(problems: Iterable[Problem], samples: int, base_seed: int, done: Set[Key] = frozenset()) -> list[Task]:
    """Return the tasks that are not in `done`, all samples of one problem before the next problem."""
    return [
        Task(problem, sample, seed_of(base_seed, problem.id, sample))
        for problem in problems
        for sample in range(samples)
        if (problem.id, sample) not in done
    ]
