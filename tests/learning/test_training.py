from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstitch_local.builtin import SLM_FILE
from rstitch_local.builtin.word_problems import generate
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.evaluations import evaluations, evaluations_alone
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import CancelledError, EngineError, InputError, ModelError
from rstitch_local.learning.recording import ComparingRouter, SampledRouter
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.learning.rollouts import Rollout, RolloutSampler
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.tasks import seed_of
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import Policy, PolicyMetadata
from rstitch_local.routing.policy_file import read_policy, write_policy

SLM_COSTS = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0.05, 0.05), decode=(0, 0.1)))
LLM_COSTS = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0.3, 0.3), decode=(0, 0.6)))
LATENCY = PairLatency(slm=SLM_COSTS, llm=LLM_COSTS)


def problems(seed: int, count: int) -> list[Problem]:
    made = [generate(seed, index, steps=2) for index in range(count)]
    return [Problem(f"{seed}-{i}", p.question, str(p.answer), i + 1) for i, p in enumerate(made)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with load_pair("demo", options=LoadOptions(sequences=8, threads=1)) as pair:
        yield pair


@pytest.fixture(scope="module")
def sampler(pair: Pair) -> RolloutSampler:
    return RolloutSampler(pair, LATENCY, AnswerChecker(), max_tokens=120)


def demo_policy(scale: float = 0.0, bias: float = 0.0, sha256: str | None = None) -> Policy:
    """Return a policy for the demo pair's SLM: random weights of size `scale`, and a bias towards switching."""
    facts = PolicyMetadata(sha256 or sha256_of(SLM_FILE), 96, 0.001)
    rng = np.random.default_rng(0)
    shapes = {"inner_weight": (8, facts.width), "inner_bias": (8,), "outer_weight": (2, 8)}
    tensors = {name: (rng.normal(size=shape) * scale).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {"norm_scale": np.ones(96, np.float32), "norm_shift": np.zeros(96, np.float32)}
    return Policy(facts, {**tensors, "outer_bias": np.array([0, bias], np.float32)})


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
            for _ in run:
                pass
            for context in single.contexts.values():
                context.truncate(0, 0)
            if run.trace.stop == "eog":
                assert evaluations_alone(run.trace.steps, lengths) == evaluations(run.trace)
            assert rollout.latency_ms == pytest.approx(LATENCY.predict_ms(run.trace), rel=0.05)


def test_a_policy_of_another_slm_is_refused(pair: Pair, tmp_path: Path) -> None:
    write_policy(tmp_path / "right", demo_policy(bias=1))
    assert [step.role for step in pair.ask("What?", router=f"learned:{tmp_path / 'right'}", max_tokens=3)]
    for name, policy in {"sum": demo_policy(sha256="b" * 64), "width": None}.items():
        if policy is None:
            right = demo_policy()
            facts = replace(right.metadata, n_embd=64, inputs=("hidden",), slm_sha256="c" * 64)
            shapes = {"norm_scale": (64,), "norm_shift": (64,), "inner_weight": (8, 64)}
            policy = Policy(facts, {**right.tensors, **{n: np.ones(s, np.float32) for n, s in shapes.items()}})
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


torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from rstitch_local.learning import training as training_module  # noqa: E402
from rstitch_local.learning.checkpoint import Checkpoint  # noqa: E402
from rstitch_local.learning.settings import TrainSettings  # noqa: E402
from rstitch_local.learning.training import Training  # noqa: E402

SETTINGS = TrainSettings(steps=2, batch=4, group=4, units=16, validate_every=1, latency_penalty=0.005)


@pytest.fixture(autouse=True)
def _short_warm_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "_RULE_PROBLEMS", 12)
    monkeypatch.setattr(training_module, "_DIFFERENCE_PROBLEMS", 12)
    monkeypatch.setattr(training_module, "_PENALTY_PROBLEMS", 2)


def training(sampler: RolloutSampler, folder: Path, settings: TrainSettings = SETTINGS) -> Training:
    return Training(sampler, problems(11, 40), problems(12, 6), settings, sha256_of(SLM_FILE), 96, folder)


def same(one: Policy, other: Policy) -> bool:
    return all(np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_training_is_reproducible_and_resumes_exactly(sampler: RolloutSampler, tmp_path: Path) -> None:
    whole = training(sampler, tmp_path / "whole")
    policy = whole.run()
    first = training(sampler, tmp_path / "parts", replace(SETTINGS, steps=1))
    first.run()
    rest = training(sampler, tmp_path / "parts")
    assert same(rest.run(resume=True), policy)
    assert json.dumps(rest.history) == json.dumps(whole.history)
    assert [r["step"] for r in whole.history if "reward" in r] == [1, 2]
    for record in whole.history:
        for name in ("accuracy", "llm_share", "dropped"):
            assert 0 <= record.get(name, 0) <= 1
    metadata = policy.metadata.training
    assert metadata["price"] == 0.005
    assert (
        metadata["validation"]["accuracy"]
        == max((r["validation"] for r in whole.history if "validation" in r), key=lambda v: v["reward"])["accuracy"]
    )
    # The folder has the returned policy.
    assert same(read_policy(tmp_path / "whole" / "best.safetensors"), policy)


def test_a_warm_start_from_differences(sampler: RolloutSampler, tmp_path: Path) -> None:
    trained = training(sampler, tmp_path / "t", replace(SETTINGS, steps=1, warm_start="difference"))
    assert trained.run().metadata.training["warm"] == "difference"
    assert trained.history[0]["imitated"] > 0


def test_another_seed_gives_another_training(sampler: RolloutSampler, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1, latency_penalty=None)
    rewards = []
    for seed in (0, 1):
        trained = training(sampler, tmp_path / str(seed), replace(settings, seed=seed))
        trained.run()
        rewards.append(trained.history[0])
        assert trained.latency_penalty > 0
    assert rewards[0] != rewards[1]


def test_errors_of_resuming(sampler: RolloutSampler, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        training(sampler, tmp_path / "none").run(resume=True)
    training(sampler, tmp_path / "t", replace(SETTINGS, steps=1)).run()
    with pytest.raises(InputError, match="other values of batch, learning_rate"):
        training(sampler, tmp_path / "t", replace(SETTINGS, batch=5, learning_rate=1.0)).run(resume=True)
    for other in (
        replace(sampler, max_tokens=99),
        replace(sampler, latency=PairLatency(slm=LLM_COSTS, llm=LLM_COSTS)),
    ):
        with pytest.raises(InputError, match="another prompt, max_tokens"):
            training(other, tmp_path / "t").run(resume=True)
    before = (tmp_path / "t" / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match="earlier training"):
        training(sampler, tmp_path / "t").run()
    assert (tmp_path / "t" / "checkpoint.pt").read_bytes() == before
    (tmp_path / "t" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        training(sampler, tmp_path / "t").run(resume=True)


def test_nan_ends_the_training_and_keeps_the_checkpoint(
    sampler: RolloutSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training(sampler, tmp_path / "t", replace(SETTINGS, steps=3))

    def observer(record: Mapping[str, Any]) -> None:
        if record["step"] == 1 and "validation" in record:
            monkeypatch.setattr(training_module, "advantages", lambda rewards, _: np.full(rewards.shape, np.nan))

    with pytest.raises(EngineError, match="NaN"):
        trained.run(observer)
    monkeypatch.undo()
    state = torch.load(tmp_path / "t" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 1
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    assert read_policy(tmp_path / "t" / "best.safetensors")


def test_a_penalty_above_every_reward_still_gives_a_policy(sampler: RolloutSampler, tmp_path: Path) -> None:
    trained = training(sampler, tmp_path / "t", replace(SETTINGS, steps=1, latency_penalty=10.0))
    assert trained.run().metadata.training["validation"]["reward"] < -1


def test_stopping_keeps_the_checkpoint(sampler: RolloutSampler, tmp_path: Path) -> None:
    stopped = False
    trained = training(replace(sampler, should_stop=lambda: stopped), tmp_path / "t")

    def observer(record: Mapping[str, Any]) -> None:
        nonlocal stopped
        stopped = record["step"] == 1

    with pytest.raises(CancelledError):
        trained.run(observer)
    assert torch.load(tmp_path / "t" / "checkpoint.pt", weights_only=True)["step"] == 0


def test_checkpoints_and_policies_have_the_keys_of_version_0_1(sampler: RolloutSampler, tmp_path: Path) -> None:
    policy = training(sampler, tmp_path, replace(SETTINGS, steps=1)).run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(state) == {
        "format", "step", "price", "best_reward", "settings", "slm", "basis", "history", "network", "optimiser",
    }  # fmt: skip
    settings = json.loads(state["settings"])
    assert set(settings) == {
        "steps", "batch", "group", "price", "tau_ask", "warm_tau", "inputs", "units", "epochs", "parts", "rate",
        "floor", "validate_every", "warm", "seed",
    }  # fmt: skip
    assert set(policy.metadata.training) == {*settings, "step", "format", "validation"}
    assert Checkpoint.read(tmp_path).settings == settings == SETTINGS.to_dict() | {"steps": 1}
