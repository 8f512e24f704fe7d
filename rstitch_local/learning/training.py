"""The training loop: warm start, then rollouts and updates in turn, validation and checkpoints.

Requires torch; import it inside functions. The parts of a step are in `rollouts`, `reward`, `imitation` and `dapo`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.roles import Role
from rstitch_local.errors import InputError
from rstitch_local.files import exists
from rstitch_local.learning.checkpoint import CHECKPOINT_FILE, FORMAT, POLICY_FILE, Checkpoint
from rstitch_local.learning.dapo import Batch, Network, UpdateMetrics, update
from rstitch_local.learning.imitation import imitate, learn_differences
from rstitch_local.learning.recording import ComparingRouter, EntropyRuleRouter, SampledRouter
from rstitch_local.learning.reward import advantages, automatic_latency_penalty, informative, reward
from rstitch_local.learning.rollouts import Rollout, RolloutMetrics, RolloutSampler
from rstitch_local.learning.settings import TrainSettings
from rstitch_local.problems.reading import Problem
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import Policy, PolicyMetadata
from rstitch_local.routing.policy_file import read_policy, write_policy

# Problems for the automatic latency penalty, and for the two kinds of warm start.
_PENALTY_PROBLEMS = 32
_RULE_PROBLEMS = 256
_DIFFERENCE_PROBLEMS = 2000
# A step replaces dropped groups with further problems until it has generated this many batches.
_MAX_ROUNDS = 3

Observer = Callable[[Mapping[str, Any]], None]
"""Called with every record of a training: of a step, or of a validation (with the key `validation`)."""


def _ignore(record: Mapping[str, Any]) -> None:
    pass


@dataclass(slots=True)
class Training:
    """One training in its folder.

    sampler: generates the answers.
    train, validation: problems with gold answers, in disjoint sets.
    settings: the hyperparameters.
    slm_sha256, n_embd: of the SLM, for the metadata of the policy.
    folder: checkpoints and history; created if it does not exist.
    history: the records so far.
    latency_penalty: lambda, once it is chosen.
    best: the policy with the highest validation reward so far.
    """

    sampler: RolloutSampler
    train: Sequence[Problem]
    validation: Sequence[Problem]
    settings: TrainSettings
    slm_sha256: str
    n_embd: int
    folder: Path
    history: list[dict[str, Any]] = field(default_factory=list)
    latency_penalty: float = 0.0
    best: Policy | None = None
    _best_reward: float = -math.inf
    _fingerprint: str = ""

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume."""
        return exists(self.folder / CHECKPOINT_FILE)

    def run(self, observer: Observer = _ignore, *, resume: bool = False) -> Policy:
        """Train to the end, and return the policy with the highest validation reward.

        Raises:
            InputError: there are no problems; with `resume`, there is no checkpoint, or it has other settings or
                problems; without it, there is one already.
            CancelledError: the training was stopped; the checkpoint has all steps up to the last validation.
            EngineError: a number became NaN, or llama.cpp failed; the last checkpoint is intact.
            StorageError: the folder cannot be written.
        """
        if not self.train or not self.validation:
            raise InputError("No problems", "Problems for both training and validation are required.")
        if self.has_checkpoint and not resume:
            raise InputError(
                "Training exists already",
                f"{self.folder} has the checkpoint of an earlier training.",
                "Add --resume to continue it, or choose another --out.",
            )
        torch.set_num_threads(1)
        self._fingerprint = self._compute_fingerprint()
        settings = self.settings
        metadata = PolicyMetadata(self.slm_sha256, self.n_embd, settings.tau_ask, settings.inputs)
        network = Network(metadata, settings.units, settings.seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        if resume:
            done = self._restore(network, optimizer)
        else:
            done = 0
            self._warm_start(network, observer)
            self._validate(network, 0, observer)
            self._save(network, optimizer, 0)
        for step in range(done + 1, settings.steps + 1):
            self._step(network, optimizer, step, observer)
            if step % settings.validate_every == 0 or step == settings.steps:
                self._validate(network, step, observer)
                self._save(network, optimizer, step)
        assert self.best is not None
        return self.best

    def _warm_start(self, network: Network, observer: Observer) -> None:
        settings = self.settings
        problems = self._problems(0)
        self.latency_penalty = self._choose_latency_penalty(problems)
        untrained = network.policy()
        # Of a small file the problems of the penalty are used again.
        available = islice(chain(problems, self._problems(0)), len(self.train))
        if settings.warm_start == "rule":
            rollouts = self.sampler.sample(
                list(islice(available, _RULE_PROBLEMS)), lambda _: EntropyRuleRouter(untrained, settings.warm_tau)
            )
        else:
            rollouts = self.sampler.sample(
                list(islice(available, _DIFFERENCE_PROBLEMS)), lambda _: ComparingRouter(untrained)
            )
        decisions = [decision for rollout in rollouts for decision in rollout.decisions]
        if not decisions:
            raise InputError(
                "Nothing to decide",
                f"The SLM's entropy is never above tau_ask, {settings.tau_ask:g}.",
                "Use a smaller tau_ask.",
            )
        if settings.warm_start == "rule":
            agreement = imitate(network, decisions)
        else:
            share = sum(decision.entropy > settings.warm_tau for decision in decisions) / len(decisions)
            agreement = learn_differences(network, decisions, min(max(share, 0.01), 0.99), seed=settings.seed)
        record = {"step": 0, "price": self.latency_penalty, "imitated": agreement, "decisions": len(decisions)}
        self._add_record(record, observer)

    def _choose_latency_penalty(self, problems: Iterator[Problem]) -> float:
        if self.settings.latency_penalty is not None:
            return self.settings.latency_penalty
        rollouts = self.sampler.sample(list(islice(problems, _PENALTY_PROBLEMS)), lambda _: "llm")
        return automatic_latency_penalty([rollout.latency_ms for rollout in rollouts])

    def _problems(self, step: int) -> Iterator[Problem]:
        """Return the problems in the order of a step, which depends only on the seed and the step."""
        return iter(random.Random(f"{self.settings.seed} {step}").sample(self.train, len(self.train)))

    def _step(self, network: Network, optimizer: torch.optim.Optimizer, step: int, observer: Observer) -> None:
        groups, rollouts = self._informative_groups(network.policy(), step)
        decisions = [decision for rollout in rollouts for decision in rollout.decisions]
        count = len(rollouts) // self.settings.group
        record: dict[str, Any] = {
            "step": step,
            **asdict(RolloutMetrics.of(rollouts, self.latency_penalty)),
            "dropped": (count - len(groups)) / count,
            "decisions": len(decisions),
            "switched": sum(decision.switch for decision in decisions) / max(1, len(decisions)),
            "unfinished": sum(not rollout.finished for rollout in rollouts),
        }
        metrics = self._update(network, optimizer, groups)
        if metrics is not None:
            record |= asdict(metrics)
        self._add_record(record, observer)

    def _informative_groups(self, policy: Policy, step: int) -> tuple[list[list[Rollout]], list[Rollout]]:
        """Return a batch of groups with different rewards, and all rollouts that were generated for it."""
        settings = self.settings
        problems = self._problems(step)
        groups: list[list[Rollout]] = []
        rollouts: list[Rollout] = []
        for _ in range(_MAX_ROUNDS):
            selected = list(islice(problems, settings.batch - len(groups)))
            if not selected:
                break
            generated = self.sampler.sample(
                selected,
                lambda seed: SampledRouter(policy, seed),
                samples=settings.group,
                seed=settings.seed * 1_000_003 + step,
            )
            rollouts += generated
            candidates = [generated[at : at + settings.group] for at in range(0, len(generated), settings.group)]
            groups += [group for group in candidates if informative([self._reward(rollout) for rollout in group])]
        return groups, rollouts

    def _reward(self, rollout: Rollout) -> float:
        return reward(rollout.correct, rollout.latency_ms, self.latency_penalty)

    def _update(
        self, network: Network, optimizer: torch.optim.Optimizer, groups: Sequence[Sequence[Rollout]]
    ) -> UpdateMetrics | None:
        """Update the network; None if the groups have no decisions."""
        if not groups:
            return None
        rewards = np.array([[self._reward(rollout) for rollout in group] for group in groups], np.float64)
        of_groups = advantages(rewards, self.settings.std_floor)
        rows = [
            (decision, float(of_groups[i, j]))
            for i, group in enumerate(groups)
            for j, rollout in enumerate(group)
            for decision in rollout.decisions
        ]
        if not rows:
            return None
        batch = Batch.of(
            [decision.features for decision, _ in rows],
            [decision.switch for decision, _ in rows],
            [decision.logp for decision, _ in rows],
            [advantage for _, advantage in rows],
        )
        settings = self.settings
        return update(network, optimizer, batch, epochs=settings.epochs, minibatches=settings.minibatches)

    def _validate(self, network: Network, step: int, observer: Observer) -> None:
        """Evaluate the validation problems as in inference (the larger output), and keep the policy if it is best."""
        training = {**self.settings.to_dict(), "price": self.latency_penalty, "step": step, "format": FORMAT}
        policy = network.policy(training)
        rollouts = self.sampler.sample(self.validation, lambda _: LearnedRouter(policy))
        metrics = RolloutMetrics.of(rollouts, self.latency_penalty)
        if metrics.reward > self._best_reward:
            metadata = replace(policy.metadata, training={**training, "validation": asdict(metrics)})
            self.best = Policy(metadata, policy.tensors)
            self._best_reward = metrics.reward
        self._add_record({"step": step, "validation": asdict(metrics)}, observer)

    def _add_record(self, record: dict[str, Any], observer: Observer) -> None:
        self.history.append(record)
        observer(record)

    def _compute_fingerprint(self) -> str:
        """Return a hash of what rewards depend on besides the policy: problems, prompt, max_tokens, LLM, cost model."""
        sampler = self.sampler
        parts = (
            [(problem.id, problem.question, problem.gold) for problem in (*self.train, *self.validation)],
            len(self.train),
            sampler.prompt.template if sampler.prompt is not None else None,
            sampler.max_tokens,
            sha256_of(sampler.pair.weights[Role.LLM].path),
            sampler.latency.to_dict(),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _save(self, network: Network, optimizer: torch.optim.Optimizer, step: int) -> None:
        assert self.best is not None
        # Raises if a parameter is not finite, before anything is written.
        network.policy()
        checkpoint = Checkpoint(
            step=step,
            latency_penalty=self.latency_penalty,
            best_reward=self._best_reward,
            settings=self.settings.to_dict(),
            slm_sha256=self.slm_sha256,
            fingerprint=self._fingerprint,
            history=self.history,
            network=network.state_dict(),
            optimizer=optimizer.state_dict(),
        )
        write_policy(self.folder / POLICY_FILE, self.best)
        checkpoint.write(self.folder)

    def _restore(self, network: Network, optimizer: torch.optim.Optimizer) -> int:
        """Restore the state of the checkpoint, and return its step."""
        checkpoint = Checkpoint.read(self.folder)
        self._require_same(checkpoint)
        try:
            network.load_state_dict(checkpoint.network)
            optimizer.load_state_dict(checkpoint.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            path = self.folder / CHECKPOINT_FILE
            raise InputError("Damaged checkpoint", f"{path} does not fit the network.") from error
        self.history[:] = checkpoint.history
        self.latency_penalty, self._best_reward = checkpoint.latency_penalty, checkpoint.best_reward
        self.best = read_policy(self.folder / POLICY_FILE)
        return checkpoint.step

    def _require_same(self, checkpoint: Checkpoint) -> None:
        """Raise InputError if the checkpoint is of another training."""
        if checkpoint.slm_sha256 != self.slm_sha256:
            raise InputError("Another SLM", f"{self.folder} has the training of another SLM.")
        if checkpoint.fingerprint != self._fingerprint:
            raise InputError(
                "Rewards not comparable",
                f"The training in {self.folder} has other problems, another prompt, max_tokens or LLM, or another "
                "calibration.",
                "Use the same ones again, or choose another --out.",
            )
        differing = self.settings.differences(checkpoint.settings)
        if differing:
            raise InputError(
                "Settings differ",
                f"The training in {self.folder} has other values of {', '.join(differing)}.",
                "Use the same options again, or choose another --out.",
            )
