"""The unit of work of a run: one sample of one problem, with its seed, and the settings common to all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass

from rstitch_local.decoding.router import Router
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.errors import UsageError
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Key
from rstitch_local.routing.resolve import RouterLike, is_stateless, resolve_router
from rstitch_local.routing.spec import usable_spec


@dataclass(frozen=True, slots=True)
class Settings:
    """How the pair answers every problem of a run.

    router: used for many answers: a spec, a class, a factory, a function, or a stateless Router.
    max_tokens: longest answer; None for as many as the context holds.
    stop: strings that end an answer.
    """

    router: RouterLike
    sampling: Sampling
    prompt: Prompt
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def router_name(self) -> str:
        """Name of the router in run.json and in traces."""
        return self.router if isinstance(self.router, str) else resolve_router(self.router).name


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


def usable_router(router: RouterLike) -> RouterLike:
    """Check a router that will be used for many answers, and return it; specs in canonical spelling.

    Raises:
        UsageError: it is no router, or an instance that keeps state.
        ModelError: the file of a learned router is missing or damaged.
    """
    if isinstance(router, str):
        return usable_spec(router)
    resolve_router(router)
    if isinstance(router, Router) and not is_stateless(router):
        raise UsageError(
            "Router keeps state",
            f"{router!r} would be used for several answers and may keep state.",
            f"Pass the class or a factory, which creates one per answer, or set `stateless = True` in "
            f"{type(router).__name__}.",
        )
    return router
