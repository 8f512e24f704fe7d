"""Evaluation of exported files with this project's engine on problems that were not used for training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rstitch_local.builtin import word_problems
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.problems.metrics import wilson

BOXED = re.compile(r"\\boxed\{(\d+)\}")
MAX_TOKENS = 800


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of one router.

    Attributes:
        router: its spec.
        problems: number of problems.
        correct: number of correct answers.
        tokens: mean tokens per answer.
        llm_share: share of the tokens that the LLM generated, 0 to 1.
        ms: mean wall time per answer, prompt included.
        unfinished: answers that were truncated.
    """

    router: str
    problems: int
    correct: int
    tokens: float
    llm_share: float
    ms: float
    unfinished: int

    @property
    def accuracy(self) -> float:
        """Share of correct answers, 0 to 1."""
        return self.correct / self.problems

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return wilson(self.accuracy, self.problems)


def open_pair(slm: Path, llm: Path) -> Pair:
    """Load both files with one thread; models of this size do not benefit from more."""
    return load_pair(slm=slm, llm=llm, options=LoadOptions(threads=1, context=1024))


def evaluate(pair: Pair, router: str, problems: int, *, seed: int = word_problems.EVALUATION_SEED) -> Evaluation:
    """Generate greedy answers to the first `problems` problems of a seed."""
    correct, tokens, llm, ms, unfinished = 0, 0, 0, 0.0, 0
    for index in range(problems):
        problem = word_problems.generate(seed, index)
        trace = pair.generate(problem.question, router=router, sampling=Sampling(), max_tokens=MAX_TOKENS)
        boxed = BOXED.findall(trace.text)
        correct += bool(boxed) and int(boxed[-1]) == problem.answer
        tokens += len(trace.steps)
        llm += trace.tokens[Role.LLM]
        ms += trace.wall_ms
        unfinished += trace.stop != "eog"
    return Evaluation(router, problems, correct, tokens / problems, llm / tokens, ms / problems, unfinished)


HEADING = (
    "| router | accuracy | 95 % interval | tokens | LLM share | ms | unfinished |\n"
    "|---|---|---|---|---|---|---|"
)  # fmt: skip


def row(result: Evaluation) -> str:
    """Return a row of the Markdown table below `HEADING`."""
    low, high = result.interval
    return (
        f"| {result.router} | {100 * result.accuracy:.1f} % | {100 * low:.1f} to {100 * high:.1f} "
        f"| {result.tokens:.1f} | {100 * result.llm_share:.1f} % | {result.ms:.1f} | {result.unfinished} |"
    )
