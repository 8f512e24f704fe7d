"""Training with the demo pair: reproducible, resumable, and safe against NaN and interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rollout_samples import LLM_COSTS, demo_sampler, problems

from rstitch_local.builtin import SLM_FILE
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.latency import PairLatency
from rstitch_local.errors import CancelledError, EngineError, InputError
from rstitch_local.learning.rollouts import RolloutSampler
from rstitch_local.routing.policy import Policy
from rstitch_local.routing.policy_file import read_policy

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from rstitch_local.learning import training as training_module  # noqa: E402
from rstitch_local.learning.checkpoint import Checkpoint  # noqa: E402
from rstitch_local.learning.settings import TrainSettings  # noqa: E402
from rstitch_local.learning.training import Training  # noqa: E402

SETTINGS = TrainSettings(steps=2, batch=4, group=4, units=16, validate_every=1, latency_penalty=0.005)


@pytest.fixture(scope="module")
def sampler() -> Iterator[RolloutSampler]:
    with demo_sampler() as opened:
        yield opened


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


def test_a_warm_start_with_fewer_problems_than_the_automatic_penalty_uses(
    sampler: RolloutSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "_PENALTY_PROBLEMS", 100)
    trained = training(sampler, tmp_path / "t", replace(SETTINGS, steps=1, latency_penalty=None))
    trained.run()
    assert trained.history[0]["decisions"] > 0


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
