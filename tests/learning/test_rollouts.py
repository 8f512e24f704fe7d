"""Rollouts of the demo pair: reproducible decisions, latencies, recording routers, problems that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rollout_samples import LATENCY, demo_policy, demo_sampler, problems

from rstitch_local.costs.evaluations import evaluations, evaluations_alone
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.errors import InputError, ModelError
from rstitch_local.learning.recording import ComparingRouter, SampledRouter
from rstitch_local.learning.rollouts import Rollout, RolloutSampler
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.tasks import seed_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import Policy
from rstitch_local.routing.policy_file import write_policy


@pytest.fixture(scope="module")
def sampler() -> Iterator[RolloutSampler]:
    with demo_sampler() as opened:
        yield opened


def test_rollouts_are_reproducible_and_decisions_have_their_probability(sampler: RolloutSampler) -> None:
    policy = demo_policy(scale=1.0)
    runs = [
        sampler.sample(problems(21, 6), lambda seed: SampledRouter(policy, seed), samples=4, seed=seed)
        for seed in (5, 5, 6)
    ]

    def decisions_of(rollouts: list[Rollout]) -> list[list[tuple[int, bool]]]:
        return [[(d.position, d.switch) for d in rollout.decisions] for rollout in rollouts]

    assert decisions_of(runs[0]) == decisions_of(runs[1]) != decisions_of(runs[2])
    assert [r.problem for r in runs[0]] == [f"21-{i}" for i in range(6) for _ in range(4)]
    decisions = [d for rollout in runs[0] for d in rollout.decisions]
    assert len(decisions) > 50
    for decision in decisions:
        score = policy.score(decision.features)
        assert decision.logp == pytest.approx(-np.logaddexp(0, -score if decision.switch else score))
        assert decision.entropy > 0.001
    assert {d.switch for d in decisions} == {True, False}


def test_latency_is_that_of_an_answer_generated_alone(sampler: RolloutSampler) -> None:
    policy = demo_policy(scale=1.0)
    rollouts = sampler.sample(problems(22, 3), lambda seed: SampledRouter(policy, seed), samples=3, seed=1)
    with load_pair("demo", options=LoadOptions(sequences=1, threads=1)) as single:
        for rollout, sample in zip(rollouts, [0, 1, 2] * 3, strict=True):
            problem = next(p for p in problems(22, 3) if p.id == rollout.problem)
            run = single.ask(
                problem.question, router=SampledRouter(policy, seed_of(1, problem.id, sample)), max_tokens=120
            )
            lengths = {role: len(run.trajectory.ids(role)) for role in Role}
            run.finish()
            for context in single.contexts.values():
                context.truncate(0, 0)
            if run.trace.stop == "eog":
                assert evaluations_alone(run.trace.steps, lengths) == evaluations(run.trace)
            assert rollout.latency_ms == pytest.approx(LATENCY.predict_ms(run.trace), rel=0.05)


def test_a_policy_of_another_slm_is_refused(sampler: RolloutSampler, tmp_path: Path) -> None:
    pair = sampler.pair
    write_policy(tmp_path / "right", demo_policy(bias=1))
    assert [step.role for step in pair.ask("What?", router=f"learned:{tmp_path / 'right'}", max_tokens=3)]
    for name, policy in {"sum": demo_policy(sha256="b" * 64), "width": None}.items():
        if policy is None:
            right = demo_policy()
            metadata = replace(right.metadata, n_embd=64, inputs=("hidden",), slm_sha256="c" * 64)
            shapes = {"norm_scale": (64,), "norm_shift": (64,), "inner_weight": (8, 64)}
            policy = Policy(metadata, {**right.tensors, **{n: np.ones(s, np.float32) for n, s in shapes.items()}})
        write_policy(tmp_path / name, policy)
        with pytest.raises(ModelError, match="another SLM"):
            pair.ask("What?", router=f"learned:{tmp_path / name}")


def test_a_learned_router_decides(sampler: RolloutSampler) -> None:
    stay, switch = demo_policy(bias=-1), demo_policy(bias=1)
    never = sampler.sample(problems(23, 6), lambda _: LearnedRouter(stay))
    always = sampler.sample(problems(23, 6), lambda _: LearnedRouter(switch))
    slm = sampler.sample(problems(23, 6), lambda _: "slm")
    by_entropy = sampler.sample(problems(23, 6), lambda _: "entropy:0.001")
    assert [(r.correct, r.tokens, r.llm_tokens) for r in never] == [(r.correct, r.tokens, 0) for r in slm]
    # With hidden states a catch-up is split differently, and rounding may decide at an entropy close to tau.
    both = zip(always, by_entropy, strict=True)
    assert sum((a.tokens, a.llm_tokens, a.visits) == (b.tokens, b.llm_tokens, b.visits) for a, b in both) >= 5
    assert sum(r.llm_tokens for r in always) > 0


def test_differences_between_the_models_are_recorded(sampler: RolloutSampler) -> None:
    policy = demo_policy()
    rollouts = sampler.sample(problems(24, 20), lambda _: ComparingRouter(policy))
    decisions = [decision for rollout in rollouts for decision in rollout.decisions]
    # Every visit has a decision; in some the LLM preferred another token, in most the same.
    assert len(decisions) == sum(rollout.visits for rollout in rollouts)
    assert 0 < sum(decision.switch for decision in decisions) < len(decisions) / 2
    # If no token was changed, the SLM alone gives the same answer.
    alone = sampler.sample(problems(24, 20), lambda _: "slm")
    for helped, by_slm in zip(rollouts, alone, strict=True):
        if not any(decision.switch for decision in helped.decisions):
            assert helped.correct == by_slm.correct


def test_a_prompt_that_is_too_long_is_skipped(sampler: RolloutSampler) -> None:
    fitting = problems(25, 3)
    long = Problem("long", "Why? " * 5000, "1", 9)
    rollouts = sampler.sample([fitting[0], long, *fitting[1:]], lambda _: "slm", samples=2)
    assert [r.problem for r in rollouts] == [p.id for p in fitting for _ in range(2)]
    with pytest.raises(InputError, match="Prompts too long"):
        sampler.sample([long], lambda _: "slm")
