"""Runs exported files through this project's own engine over unseen problems and counts.

Knows the engine's front door (`load_pair`, `ask`) and the problems; knows nothing of torch or of training.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair

BOXED = re.compile(r"\\boxed\{(\d+)\}")
MAX_TOKENS = 800


@dataclass(frozen=True, slots=True)
class Figures:
    """What one router did over a set of problems.

    right, problems: counts. tokens: mean tokens an answer. llm_share: of all kept tokens, 0 to 1.
    ms: mean wall time an answer, prompt included. unfinished: answers that did not end by themselves.
    """

    router: str
    problems: int
    right: int
    tokens: float
    llm_share: float
    ms: float
    unfinished: int

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / self.problems

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        n, p, z = self.problems, self.accuracy, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return middle - half, middle + half


def open_pair(slm: Path, llm: Path) -> Pair:
    """Both files on one thread: two models this small gain nothing from a second one."""
    return load_pair(slm=slm, llm=llm, options=LoadOptions(threads=1, context=1024))


def evaluate(pair: Pair, router: str, problems: int, *, seed: int = word_problems.EVALUATION_SEED) -> Figures:
    """Greedy answers to the first `problems` problems of a seed, by one router."""
    right, tokens, llm, ms, unfinished = 0, 0, 0, 0.0, 0
    for index in range(problems):
        problem = word_problems.generate(seed, index)
        run = pair.ask(problem.question, router=router, sampling=Sampling(temperature=0.0), max_tokens=MAX_TOKENS)
        text = "".join(step.text for step in run)
        boxed = BOXED.findall(text)
        right += bool(boxed) and int(boxed[-1]) == problem.answer
        tokens += sum(run.trace.tokens.values())
        llm += run.trace.tokens[Role.LLM]
        ms += run.trace.wall_ms
        unfinished += run.trace.stop != "eog"
    return Figures(router, problems, right, tokens / problems, llm / tokens, ms / problems, unfinished)


HEADING = (
    "| router | accuracy | 95 % interval | tokens | LLM share | ms | unfinished |\n"
    "|---|---|---|---|---|---|---|"
)  # fmt: skip


def row(figures: Figures) -> str:
    """One line of the Markdown table under `HEADING`."""
    low, high = figures.interval
    return (
        f"| {figures.router} | {100 * figures.accuracy:.1f} % | {100 * low:.1f} to {100 * high:.1f} "
        f"| {figures.tokens:.1f} | {100 * figures.llm_share:.1f} % | {figures.ms:.1f} | {figures.unfinished} |"
    )
