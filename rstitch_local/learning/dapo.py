"""DAPO on single decisions (Yu et al., arXiv 2503.14476): the network, its loss, and one update from a batch.

Needs torch; import it late. Knows decisions and advantages; nothing of models, problems or rewards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rstitch_local.errors import EngineError
from rstitch_local.routing.policy import Policy, PolicyMetadata

CLIP_LOW, CLIP_HIGH = 0.2, 0.28


class Network(nn.Module):
    """The policy's network in torch; the same numbers give the same outputs as `Policy.score`."""

    def __init__(self, facts: PolicyMetadata, units: int, seed: int) -> None:
        super().__init__()
        self.facts = facts
        self.uses_hidden = "hidden" in facts.inputs
        generator = torch.Generator().manual_seed(seed)

        def drawn(rows: int, columns: int, scale: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * scale / columns**0.5)

        self.norm_scale = nn.Parameter(torch.ones(facts.n_embd))
        self.norm_shift = nn.Parameter(torch.zeros(facts.n_embd))
        self.inner_weight = drawn(units, facts.width)
        self.inner_bias = nn.Parameter(torch.zeros(units))
        # Small, so that before anything is learned both outputs are as likely.
        self.outer_weight = drawn(2, units, 0.1)
        self.outer_bias = nn.Parameter(torch.zeros(2))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) -> score of switching against staying (n,)."""
        if self.uses_hidden:
            n_embd = self.facts.n_embd
            hidden = nn.functional.layer_norm(features[:, :n_embd], (n_embd,), self.norm_scale, self.norm_shift, 1e-5)
            features = torch.cat((hidden, features[:, n_embd:]), dim=1)
        inner = nn.functional.silu(nn.functional.linear(features, self.inner_weight, self.inner_bias))
        outer = nn.functional.linear(inner, self.outer_weight, self.outer_bias)
        return outer[:, 1] - outer[:, 0]

    def policy(self, training: Mapping[str, Any] | None = None) -> Policy:
        """What it is now, for numpy; raises EngineError where a number in it is none."""
        facts = self.facts
        about = PolicyMetadata(facts.slm_sha256, facts.n_embd, facts.tau_ask, facts.inputs, training or facts.training)
        try:
            return Policy(about, {name: value.detach().numpy().copy() for name, value in self.named_parameters()})
        except ValueError as error:
            raise broken(str(error)) from error

    def load(self, policy: Policy) -> None:
        """Take over a policy's numbers."""
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(torch.from_numpy(policy.tensors[name]))


def broken(where: str) -> EngineError:
    """The error that ends a training in which numbers are no longer numbers."""
    return EngineError(
        "The training broke down", f"A number became NaN or infinite ({where}).", "Try a smaller learning rate."
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions of many answers, each with its answer's advantage.

    features: float32, (n, width); switched: whether the LLM was called, (n,); logp: ln of the chance that had, (n,);
    advantage: (n,).
    """

    features: Tensor
    switched: Tensor
    logp: Tensor
    advantage: Tensor

    @classmethod
    def of(
        cls,
        features: Sequence[NDArray[np.float32]],
        switched: Sequence[bool],
        logp: Sequence[float],
        advantage: Sequence[float],
    ) -> Batch:
        """From plain sequences of equal length."""
        return cls(
            torch.from_numpy(np.stack(features)),
            torch.tensor(switched, dtype=torch.bool),
            torch.tensor(logp, dtype=torch.float32),
            torch.tensor(advantage, dtype=torch.float32),
        )


def surrogate(logp: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The clipped loss, mean over all decisions (not first over those of an answer), and the share that was clipped.

    -mean(min(r A, clip(r, 1 - 0.2, 1 + 0.28) A)), r = exp(logp - old logp); no KL term.
    """
    ratio = torch.exp(logp - batch.logp)
    free = ratio * batch.advantage
    held = torch.clamp(ratio, 1 - CLIP_LOW, 1 + CLIP_HIGH) * batch.advantage
    return -torch.minimum(free, held).mean(), (held < free).float().mean()


def log_chance(score: Tensor, switched: Tensor) -> Tensor:
    """Natural logarithm of the chance of what was done, from the scores."""
    return nn.functional.logsigmoid(torch.where(switched, score, -score))


def mean_entropy(score: Tensor) -> Tensor:
    """Mean entropy of the decisions in nats, ln 2 at most."""
    chance = torch.sigmoid(score)
    return -(chance * nn.functional.logsigmoid(score) + (1 - chance) * nn.functional.logsigmoid(-score)).mean()


@dataclass(frozen=True, slots=True)
class Update:
    """How an update went: the clipped share and the loss, mean over its epochs, and the entropy before it."""

    clipped: float
    loss: float
    entropy: float


def update(network: Network, optimiser: torch.optim.Optimizer, batch: Batch, *, epochs: int, parts: int) -> Update:
    """Several epochs over one batch, each in `parts` steps.

    Raises:
        EngineError: a loss or a gradient that is no number; the network is then as it was before that step.
    """
    losses, clipped = [], []
    with torch.no_grad():
        entropy = float(mean_entropy(network(batch.features)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(batch.logp), generator=generator)
        for chosen in order.chunk(parts):
            part = Batch(*(values[chosen] for values in (batch.features, batch.switched, batch.logp, batch.advantage)))
            loss, share = surrogate(log_chance(network(part.features), part.switched), part)
            if not torch.isfinite(loss):
                raise broken("the loss")
            optimiser.zero_grad()
            loss.backward()
            if not torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), 1.0)):
                raise broken("the gradient")
            optimiser.step()
            losses.append(float(loss.detach()))
            clipped.append(float(share.detach()))
    return Update(float(np.mean(clipped)), float(np.mean(losses)), entropy)
