"""Many answers at once by a policy whose decisions are drawn by chance, each decision written down.

Knows pairs, problems and policies; nothing of how a policy is changed by what came of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.costs.evaluations import evaluations_alone
from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Observation, Router
from rstitch_local.decoding.sampling import uniform
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run
from rstitch_local.errors import CancelledError, InputError
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.problems.prompts import Prompt, prompt_of
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.tasks import seed_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import Policy


class Decision(NamedTuple):
    """One question to the policy: what it was shown, what it said, how likely that was, and where in the answer.

    features: float32, shape (policy.facts.width,); switch: whether the LLM was called; logp: ln of the chance of that.
    """

    features: NDArray[np.float32]
    switch: bool
    logp: float
    position: int
    entropy: float


class SampledRouter(LearnedRouter):
    """A learned router that tosses a coin with the policy's odds, by noise of (seed, position), and takes notes."""

    def __init__(self, policy: Policy, seed: int) -> None:
        super().__init__(policy)
        # Neither the sampler's noise nor that of the random router.
        self._seed = seed ^ 0x5DEECE66D
        self.decisions: list[Decision] = []

    def asks(self, observation: Observation) -> bool:
        """Whether the coin says so."""
        features = self.policy.features(observation)
        score = self.policy.score(features)
        # ln sigmoid(x) = -ln(1 + exp(-x))
        switch = uniform(self._seed, observation.position) < 0.5 * (1 + math.tanh(0.5 * score))
        logp = -float(np.logaddexp(0.0, -score if switch else score))
        self.decisions.append(Decision(features, switch, logp, observation.position, observation.entropy))
        return switch


class WatchingRouter(LearnedRouter):
    """Asks as the entropy rule at `tau` does, and notes what a policy would have been shown: for the warm start."""

    def __init__(self, policy: Policy, tau: float) -> None:
        super().__init__(policy)
        self._tau = tau
        self.decisions: list[Decision] = []

    def asks(self, observation: Observation) -> bool:
        """By entropy alone."""
        switch = observation.entropy > self._tau
        features = self.policy.features(observation)
        self.decisions.append(Decision(features, switch, 0.0, observation.position, observation.entropy))
        return switch


class ComparingRouter(LearnedRouter):
    """Asks wherever a policy may be asked, and notes whether the LLM then preferred another token than the SLM.

    `switch` of its decisions is whether it did. The two must have the same token ids, as the models of a family do.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.decisions: list[Decision] = []
        self._open: tuple[Decision, int | None] | None = None

    def asks(self, observation: Observation) -> bool:
        """Always."""
        decision = Decision(self.policy.features(observation), False, 0.0, observation.position, observation.entropy)
        self._open = decision, observation.token
        return True

    def route(self, observation: Observation) -> Role:
        """By entropy; the LLM's token at a position it was asked for is held against the SLM's."""
        if self._open is not None and observation.role is Role.LLM:
            decision, token = self._open
            self.decisions.append(decision._replace(switch=token != observation.token))
            self._open = None
        return super().route(observation)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer: whether it is right, its latency by the cost model, its tokens, and the decisions in it.

    wall_ms is measured, and means something only for answers written one at a time.
    """

    problem: str
    right: bool
    latency_ms: float
    tokens: int
    llm_tokens: int
    visits: int
    finished: bool
    decisions: Sequence[Decision]
    wall_ms: float


@dataclass(slots=True)
class RolloutSampler:
    """All that rollouts need beside a policy.

    pair: loaded with as many sequences as answers shall be written at once.
    latency: the pair's cost model.
    judge: grades the answers.
    max_tokens: budget of an answer; None for what the context holds.
    stop: looked at between evaluations.
    """

    pair: Pair
    latency: PairLatency
    judge: AnswerChecker
    max_tokens: int | None = None
    stop: Callable[[], bool] | None = None
    prompt: Prompt | None = None

    def write(
        self, problems: Sequence[Problem], router: Callable[[int], Router | str], *, samples: int = 1, seed: int = 0
    ) -> list[Rollout]:
        """Answers to all problems, `samples` of each, one problem's beside each other.

        Args:
            problems: with gold answers.
            router: makes the router of one answer from its seed.
            samples: answers to each.
            seed: of all noise.

        Raises:
            InputError: no problem's prompt fits into the contexts; one that does not is left out.
            CancelledError: stopped; what was written is lost.
            EngineError: broken logits, or llama.cpp failed.
        """
        # What is left from before would change the rounding, and with it now and then a decision.
        for context in self.pair.contexts.values():
            for sequence in range(context.n_seq_max):
                context.truncate(sequence, 0)
        defaults = self.pair.defaults
        prompt = self.prompt or prompt_of(defaults.prompt, defaults.prompt_suffix)
        wanted: dict[int, tuple[int, Problem, Router | str, dict[Role, int]]] = {}
        found: dict[int, Rollout] = {}

        def runs() -> Iterator[Run]:
            for problem in problems:
                for sample in range(samples):
                    own = seed_of(seed, problem.id, sample)
                    rule = router(own)
                    try:
                        run = self.pair.chat(
                            prompt.messages(problem.question), router=rule, seed=own, max_tokens=self.max_tokens
                        )
                    except InputError:
                        # Its prompt is longer than a context: one row of a file shall not end a training.
                        break
                    lengths = {role: len(run.trajectory.ids(role)) for role in Role}
                    wanted[id(run)] = (len(wanted) + len(found), problem, rule, lengths)
                    yield run

        for run, _ in self.pair.run_all(runs(), should_stop=self.stop):
            if run.trace.stop is None:
                continue
            if run.error is not None:
                raise run.error
            place, problem, rule, lengths = wanted.pop(id(run))
            found[place] = self._rollout(run, problem, rule, lengths)
        if self.stop is not None and self.stop():
            raise CancelledError("Stopped", "The answers that were being written are lost.")
        if problems and not found:
            raise InputError("No problem fits", "The prompts of all problems are longer than a context holds.")
        return [found[place] for place in sorted(found)]

    def _rollout(self, run: Run, problem: Problem, rule: Router | str, lengths: dict[Role, int]) -> Rollout:
        trace = run.trace
        assert problem.gold is not None
        return Rollout(
            problem=problem.id,
            right=self.judge.right(problem.gold, trace.text),
            # Answers written beside each other share what they have in common, which an answer alone cannot.
            latency_ms=self.latency.sum_ms(evaluations_alone(trace.steps, lengths)),
            tokens=len(trace.steps),
            llm_tokens=trace.tokens[Role.LLM],
            visits=trace.swaps_up,
            finished=trace.stop == "eog",
            decisions=getattr(rule, "decisions", ()),
            wall_ms=trace.wall_ms,
        )
