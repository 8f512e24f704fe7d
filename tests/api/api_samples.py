"""Questions for tests of the Python API, and what they compare."""

from __future__ import annotations

from rstitch_local import Role, Run, Trace
from rstitch_local.builtin import word_problems

QUESTIONS = [word_problems.generate(word_problems.EXAMPLES_SEED, index).question for index in range(6)]
QUESTION = QUESTIONS[0]
TOO_LONG = "Tom has 12 pens. " * 1000


def tokens(trace: Trace) -> list[tuple[Role, int]]:
    return [(step.role, step.token) for step in trace.steps]


def prompt_of(run: Run, role: Role = Role.SLM) -> list[int]:
    return list(run.trajectory.ids(role))
