"""The training of a policy: warm start, then rollouts and updates in turn, checkpoints, and the best policy at the end.

Needs torch; import it late. Knows the order of things; what a step is made of is in rollouts, reward, imitation and
dapo, and how it looks is the command's.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.decoding.roles import Role
from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import open_atomic
from rstitch_local.learning.dapo import Batch, Network, Update, update
from rstitch_local.learning.imitation import imitate, tell_apart
from rstitch_local.learning.reward import advantages, informative, price_of, reward
from rstitch_local.learning.rollouts import ComparingRouter, Rollout, RolloutSampler, SampledRouter, WatchingRouter
from rstitch_local.problems.reading import Problem
from rstitch_local.routing.learned import LearnedRouter
from rstitch_local.routing.policy import INPUTS, Policy, PolicyMetadata
from rstitch_local.routing.policy_file import read_policy, write_policy

FORMAT = 1
_PRICED_PROBLEMS = 32
_WARM_PROBLEMS = 256
_COMPARED_PROBLEMS = 2000
# Fresh problems are asked for in place of dropped groups until this many batches were written.
_MOST_ROUNDS = 3
_DIFFERENT_FROM_RESUMED = {"steps"}


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a policy is trained.

    steps: updates; batch: groups in each; group: answers to one problem.
    latency_penalty: lambda, a millisecond's; None chooses it (`price_of`).
    tau_ask: entropy above which the policy is asked; warm_tau: the rule it imitates first.
    inputs, units: what the policy looks at, and the width of its inner layer.
    epochs, parts: passes over a batch, and updates in each; rate: Adam's learning rate.
    floor: least standard deviation rewards of a group are divided by (`advantages`); 0 is DAPO, 0.35 about the
        least spread of a group of eight with right and wrong answers.
    validate_every: steps between two looks at the validation problems.
    warm: what the network learns first: "rule", to imitate the entropy rule at `warm_tau`; "difference", where the two
        models prefer different tokens, asking as often as that rule.
    """

    steps: int = 100
    batch: int = 32
    group: int = 8
    latency_penalty: float | None = None
    tau_ask: float = 0.001
    warm_tau: float = 0.005
    inputs: tuple[str, ...] = INPUTS
    units: int = 128
    epochs: int = 4
    parts: int = 2
    rate: float = 1e-3
    floor: float = 0.35
    validate_every: int = 10
    warm: str = "rule"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the settings ready for JSON, under the names that checkpoints and router files use."""
        record = asdict(self)
        record["inputs"] = list(self.inputs)
        # Files keep the name `price` for the latency penalty.
        record["price"] = record.pop("latency_penalty")
        return record


@dataclass(slots=True)
class Figures:
    """Means over answers: reward, accuracy, share of the LLM's tokens, modelled latency, visits of the LLM."""

    reward: float
    accuracy: float
    llm_share: float
    latency_ms: float
    visits: float

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], latency_penalty: float) -> Figures:
        """Of some answers."""
        count = len(rollouts)
        return cls(
            reward=sum(reward(r.right, r.latency_ms, latency_penalty) for r in rollouts) / count,
            accuracy=sum(r.right for r in rollouts) / count,
            llm_share=sum(r.llm_tokens for r in rollouts) / max(1, sum(r.tokens for r in rollouts)),
            latency_ms=sum(r.latency_ms for r in rollouts) / count,
            visits=sum(r.visits for r in rollouts) / count,
        )


Watch = Callable[[Mapping[str, Any]], None]
"""Told every record of a training as it is made: a step's, or with `validation` in it."""


def _nobody(record: Mapping[str, Any]) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Training:
    """One training in its folder.

    workshop: the pair and its cost model.
    train, validation: problems with gold answers, none in both.
    settings: how.
    slm_sha256, n_embd: of the SLM, for the policy's file.
    folder: where the checkpoints and the history go; made if it is not there.
    """

    workshop: RolloutSampler
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
    _basis: str = ""

    def run(self, watch: Watch = _nobody, *, resume: bool = False) -> Policy:
        """Train to the end, and give the policy that did best on the validation problems.

        Raises:
            InputError: nothing to train on, nothing to resume, or it was begun with other settings or problems; or
                there is a training already that is not to be resumed.
            CancelledError: stopped; the checkpoint holds all steps up to the last look at the validation problems.
            EngineError: a number became NaN, or llama.cpp failed; the last checkpoint is a good one.
            StorageError: the folder cannot be written.
        """
        if not self.train or not self.validation:
            raise InputError("Nothing to train on", "Problems for training and for validation are needed.")
        torch.set_num_threads(1)
        self._basis = self._sum_of_basis()
        settings = self.settings
        facts = PolicyMetadata(self.slm_sha256, self.n_embd, settings.tau_ask, settings.inputs)
        network = Network(facts, settings.units, settings.seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate)
        if resume:
            begun = self._load(network, optimiser)
        elif self.has_checkpoint:
            raise InputError(
                "There is a training already",
                f"{self.folder} holds one that was begun earlier.",
                "Go on with --resume, or give another --out.",
            )
        else:
            begun = 0
            self._warm_up(network, watch)
            self._validate(network, 0, watch)
            self._save(network, optimiser, 0)
        for step in range(begun + 1, settings.steps + 1):
            self._step(network, optimiser, step, watch)
            last = step == settings.steps
            if step % settings.validate_every == 0 or last:
                self._validate(network, step, watch)
                self._save(network, optimiser, step)
        assert self.best is not None
        return self.best

    def _warm_up(self, network: Network, watch: Watch) -> None:
        settings, workshop = self.settings, self.workshop
        problems = self._problems(0)
        latency_penalty = settings.latency_penalty
        if latency_penalty is None:
            alone = workshop.write(problems(_PRICED_PROBLEMS), lambda _: "llm")
            latency_penalty = price_of([rollout.latency_ms for rollout in alone])
        self.latency_penalty = latency_penalty
        blank = network.policy()
        rule = settings.warm == "rule"
        watched = workshop.write(
            problems(_WARM_PROBLEMS if rule else _COMPARED_PROBLEMS),
            lambda _: WatchingRouter(blank, settings.warm_tau) if rule else ComparingRouter(blank),
        )
        decisions = [decision for rollout in watched for decision in rollout.decisions]
        if not decisions:
            raise InputError(
                "Nothing to decide", f"The SLM's entropy is nowhere above tau_ask, {settings.tau_ask:g}.", "Lower it."
            )
        if rule:
            agreement = imitate(network, decisions)
        else:
            share = sum(decision.entropy > settings.warm_tau for decision in decisions) / len(decisions)
            agreement = tell_apart(network, decisions, min(max(share, 0.01), 0.99), seed=settings.seed)
        self._note({"step": 0, "price": latency_penalty, "imitated": agreement, "decisions": len(decisions)}, watch)

    def _problems(self, step: int) -> Callable[[int], list[Problem]]:
        """Problems of one step, each at most once; which they are depends on the seed and the step alone."""
        order = random.Random(f"{self.settings.seed} {step}").sample(self.train, len(self.train))
        at = 0

        def following(count: int) -> list[Problem]:
            nonlocal at
            chosen = order[at : at + count]
            at += count
            return chosen

        return following

    def _step(self, network: Network, optimiser: torch.optim.Optimizer, step: int, watch: Watch) -> None:
        settings = self.settings
        policy = network.policy()
        problems = self._problems(step)
        groups: list[list[Rollout]] = []
        dropped = rounds = 0
        everything: list[Rollout] = []
        while len(groups) < settings.batch and rounds < _MOST_ROUNDS:
            fresh = problems(settings.batch - len(groups))
            if not fresh:
                break
            rounds += 1
            written = self.workshop.write(
                fresh,
                lambda seed: SampledRouter(policy, seed),
                samples=settings.group,
                seed=settings.seed * 1_000_003 + step,
            )
            everything += written
            for at in range(0, len(written), settings.group):
                group = written[at : at + settings.group]
                if informative([self._reward(rollout) for rollout in group]):
                    groups.append(group)
                else:
                    dropped += 1
        record: dict[str, Any] = {"step": step, **asdict(Figures.of(everything, self.latency_penalty))}
        asked = [decision for rollout in everything for decision in rollout.decisions]
        record |= {
            "dropped": dropped / (dropped + len(groups)),
            "decisions": len(asked),
            "switched": sum(decision.switch for decision in asked) / max(1, len(asked)),
            "unfinished": sum(not rollout.finished for rollout in everything),
        }
        done = self._learn(network, optimiser, groups)
        if done is not None:
            record |= asdict(done)
        self._note(record, watch)

    def _reward(self, rollout: Rollout) -> float:
        return reward(rollout.right, rollout.latency_ms, self.latency_penalty)

    def _learn(
        self, network: Network, optimiser: torch.optim.Optimizer, groups: Sequence[Sequence[Rollout]]
    ) -> Update | None:
        """One update from groups of answers; None where there is nothing in them to learn from."""
        if not groups:
            return None
        rewards = np.array([[self._reward(rollout) for rollout in group] for group in groups], np.float64)
        worth = advantages(rewards, self.settings.floor)
        rows = [
            (decision, float(worth[i, j]))
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
        return update(network, optimiser, batch, epochs=self.settings.epochs, parts=self.settings.parts)

    def _validate(self, network: Network, step: int, watch: Watch) -> None:
        """Look at the validation problems as at inference, by the larger output; keep the policy if it is the best."""
        settings = self.settings
        policy = network.policy(
            {
                **settings.to_dict(),
                "price": self.latency_penalty,
                "step": step,
                "format": FORMAT,
            }
        )
        figures = Figures.of(
            self.workshop.write(self.validation, lambda _: LearnedRouter(policy)), self.latency_penalty
        )
        if figures.reward > self._best_reward:
            facts = policy.facts
            training = {**facts.training, "validation": asdict(figures)}
            self.best = Policy(
                PolicyMetadata(facts.slm_sha256, facts.n_embd, facts.tau_ask, facts.inputs, training), policy.tensors
            )
            self._best_reward = figures.reward
        self._note({"step": step, "validation": asdict(figures)}, watch)

    def _note(self, record: dict[str, Any], watch: Watch) -> None:
        self.history.append(record)
        watch(record)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to resume."""
        return self._state.exists()

    def _sum_of_basis(self) -> str:
        """A sum of what rewards depend on beside the policy: problems, prompt, budget, LLM and cost model."""
        workshop = self.workshop
        parts = (
            [(problem.id, problem.question, problem.gold) for problem in (*self.train, *self.validation)],
            len(self.train),
            workshop.prompt.template if workshop.prompt is not None else None,
            workshop.max_tokens,
            sha256_of(workshop.pair.weights[Role.LLM].path),
            workshop.latency.to_dict(),
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def _state(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _save(self, network: Network, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Write a checkpoint; the one before is there until this one is whole."""
        assert self.best is not None
        # Numbers that are none never reach the disk.
        network.policy()
        state = {
            "format": FORMAT,
            "step": step,
            "price": self.latency_penalty,
            "best_reward": self._best_reward,
            "settings": json.dumps(self.settings.to_dict()),
            "slm": self.slm_sha256,
            "basis": self._basis,
            "history": json.dumps(self.history),
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        try:
            with open_atomic(self._state, what="checkpoint") as file:
                torch.save(state, file)
                write_policy(self.folder / "best.safetensors", self.best)
        except RuntimeError as error:  # torch reports a failed write as one
            raise StorageError("Cannot write checkpoint", f"{self._state}: {error}.") from error

    def _load(self, network: Network, optimiser: torch.optim.Optimizer) -> int:
        """Go on from the checkpoint; returns the number of steps that are done."""
        if not self.has_checkpoint:
            raise InputError("Nothing to resume", f"There is no checkpoint in {self.folder}.", "Leave --resume out.")
        try:
            # weights_only: a checkpoint is data, and may have come from somewhere else.
            state = torch.load(self._state, weights_only=True)
            settings = json.loads(state["settings"])
            self.history[:] = json.loads(state["history"])
            if state["format"] != FORMAT or state["slm"] != self.slm_sha256:
                raise InputError("Another training", f"{self.folder} holds the training of another pair or version.")
            if state["basis"] != self._basis:
                raise InputError(
                    "Another training",
                    f"The one in {self.folder} was begun with other problems, another prompt, budget or LLM, or "
                    "another calibration: its rewards are not comparable.",
                    "Give the same ones again, or another --out.",
                )
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            self.latency_penalty, self._best_reward = float(state["price"]), float(state["best_reward"])
            step = int(state["step"])
        except InputError:
            raise
        except Exception as error:
            raise InputError("Broken checkpoint", f"{self._state} cannot be read: {type(error).__name__}.") from error
        wanted = json.loads(json.dumps(self.settings.to_dict()))
        differing = [
            name for name in wanted if name not in _DIFFERENT_FROM_RESUMED and wanted[name] != settings.get(name)
        ]
        if differing:
            raise InputError(
                "Other settings",
                f"The training in {self.folder} was begun with another {', '.join(differing)}.",
                "Give the same options again, or another --out.",
            )
        self.best = read_policy(self.folder / "best.safetensors")
        return step
