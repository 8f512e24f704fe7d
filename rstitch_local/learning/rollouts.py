"""Generates many answers concurrently with a router per answer, and computes their reward inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.costs.evaluations import evaluations_alone
from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import CancelledError, InputError
from rstitch_local.learning.recording import Decision
from rstitch_local.learning.reward import AnswerChecker, reward
from rstitch_local.problems.prompts import Prompt, prompt_of
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.tasks import seed_of

RouterFactory = Callable[[int], Router | str]
"""Returns the router of one answer, given its seed."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer.

    problem: id of the problem.
    correct: whether the answer is correct.
    latency_ms: latency by the cost model, as if it was generated alone.
    tokens, llm_tokens: tokens of the answer, and those of the LLM.
    visits: swaps to the LLM.
    finished: whether it was not truncated.
    decisions: decisions of the router, if it records them.
    wall_ms: measured; meaningful only for answers generated one at a time.
    """

    problem: str
    correct: bool
    latency_ms: float
    tokens: int
    llm_tokens: int
    visits: int
    finished: bool
    decisions: Sequence[Decision]
    wall_ms: float


@dataclass(frozen=True, slots=True)
class RolloutMetrics:
    """Means over answers: reward, accuracy, LLM share of the tokens, latency by the cost model, swaps to the LLM."""

    reward: float
    accuracy: float
    llm_share: float
    latency_ms: float
    visits: float

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], latency_penalty: float) -> RolloutMetrics:
        """Return the metrics of some answers."""
        count = len(rollouts)
        return cls(
            reward=sum(reward(r.correct, r.latency_ms, latency_penalty) for r in rollouts) / count,
            accuracy=sum(r.correct for r in rollouts) / count,
            llm_share=sum(r.llm_tokens for r in rollouts) / max(1, sum(r.tokens for r in rollouts)),
            latency_ms=sum(r.latency_ms for r in rollouts) / count,
            visits=sum(r.visits for r in rollouts) / count,
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """An answer being generated; prompt: tokens of its prompt, by role."""

    index: int
    problem: Problem
    router: Router | str
    prompt: Mapping[Role, int]


@dataclass(slots=True)
class RolloutSampler:
    """Everything that rollouts need besides a router.

    pair: loaded with as many sequences as answers to generate concurrently.
    latency: the cost model of the pair.
    checker: decides whether answers are correct.
    max_tokens: maximum length of an answer; None for what the context holds.
    should_stop: polled between evaluations; True cancels.
    prompt: None for the prompt of the pair.
    """

    pair: Pair
    latency: PairLatency
    checker: AnswerChecker
    max_tokens: int | None = None
    should_stop: Callable[[], bool] | None = None
    prompt: Prompt | None = None

    def sample(
        self, problems: Sequence[Problem], make_router: RouterFactory, *, samples: int = 1, seed: int = 0
    ) -> list[Rollout]:
        """Generate `samples` answers to each problem.

        Args:
            problems: problems with gold answers.
            make_router: returns the router of one answer.
            samples: answers per problem.
            seed: seed of all random numbers.

        Returns:
            The answers in the order of the problems. A problem whose prompt does not fit into a context has none.

        Raises:
            InputError: no prompt fits into the contexts.
            CancelledError: `should_stop` returned True; the answers are lost.
            EngineError: NaN logits, or a failure of llama.cpp.
        """
        self._clear_caches()
        rollouts: dict[int, Rollout] = {}
        runs = self._runs(problems, make_router, samples, seed)
        for run, _ in self.pair.run_all(runs, should_stop=self.should_stop):
            if run.trace.stop is None:
                continue
            if run.error is not None:
                raise run.error
            task = run.tag
            assert isinstance(task, _Task)
            rollouts[task.index] = self._rollout(run, task)
        if self.should_stop is not None and self.should_stop():
            raise CancelledError("Training stopped", "The unfinished answers are lost.")
        if problems and not rollouts:
            raise InputError("Prompts too long", "No prompt of the problems fits into the contexts.")
        return [rollouts[index] for index in sorted(rollouts)]

    def _clear_caches(self) -> None:
        """Empty the KV caches: reused cells would change the rounding, and thereby a decision now and then."""
        for context in self.pair.contexts.values():
            for sequence in range(context.n_seq_max):
                context.truncate(sequence, 0)

    def _runs(self, problems: Sequence[Problem], make_router: RouterFactory, samples: int, seed: int) -> Iterator[Run]:
        """Yield the runs, each with its task as the tag."""
        defaults = self.pair.defaults
        prompt = self.prompt or prompt_of(defaults.prompt, defaults.prompt_suffix)
        index = itertools.count()
        for problem in problems:
            messages = prompt.messages(problem.question)
            for sample in range(samples):
                answer_seed = seed_of(seed, problem.id, sample)
                router = make_router(answer_seed)
                try:
                    run = self.pair.chat(messages, router=router, seed=answer_seed, max_tokens=self.max_tokens)
                except InputError:
                    # The prompt is too long: one row of a file must not end a training.
                    break
                lengths = {role: len(run.trajectory.ids(role)) for role in Role}
                run.tag = _Task(next(index), problem, router, lengths)
                yield run

    def _rollout(self, run: Run, task: _Task) -> Rollout:
        trace = run.trace
        assert task.problem.gold is not None
        return Rollout(
            problem=task.problem.id,
            correct=self.checker.is_correct(task.problem.gold, trace.text),
            # As if generated alone: concurrent answers to one problem share their prompt.
            latency_ms=self.latency.sum_ms(evaluations_alone(trace.steps, task.prompt)),
            tokens=len(trace.steps),
            llm_tokens=trace.tokens[Role.LLM],
            visits=trace.swaps_up,
            finished=trace.stop == "eog",
            decisions=getattr(task.router, "decisions", ()),
            wall_ms=trace.wall_ms,
        )
