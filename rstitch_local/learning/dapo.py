"""DAPO on single decisions (Yu et al., arXiv 2503.14476): the network, its loss, and one update from a batch.

Requires torch; import it inside functions. Independent of models, problems and rewards.
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
    """The policy's network in torch; with the same parameters it computes the same scores as `Policy.score`."""

    def __init__(self, metadata: PolicyMetadata, units: int, seed: int) -> None:
        super().__init__()
        self.metadata = metadata
        self.uses_hidden = "hidden" in metadata.inputs
        generator = torch.Generator().manual_seed(seed)

        def random_weight(rows: int, columns: int, scale: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * scale / columns**0.5)

        self.norm_scale = nn.Parameter(torch.ones(metadata.n_embd))
        self.norm_shift = nn.Parameter(torch.zeros(metadata.n_embd))
        self.inner_weight = random_weight(units, metadata.width)
        self.inner_bias = nn.Parameter(torch.zeros(units))
        # Small, so that both outputs are equally likely before the training.
        self.outer_weight = random_weight(2, units, 0.1)
        self.outer_bias = nn.Parameter(torch.zeros(2))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) -> score of switching minus staying (n,)."""
        if self.uses_hidden:
            n_embd = self.metadata.n_embd
            hidden = nn.functional.layer_norm(features[:, :n_embd], (n_embd,), self.norm_scale, self.norm_shift, 1e-5)
            features = torch.cat((hidden, features[:, n_embd:]), dim=1)
        inner = nn.functional.silu(nn.functional.linear(features, self.inner_weight, self.inner_bias))
        outer = nn.functional.linear(inner, self.outer_weight, self.outer_bias)
        return outer[:, 1] - outer[:, 0]

    def policy(self, training: Mapping[str, Any] | None = None) -> Policy:
        """Return the network as a numpy policy; raises EngineError if a parameter is NaN or infinite."""
        old = self.metadata
        metadata = PolicyMetadata(old.slm_sha256, old.n_embd, old.tau_ask, old.inputs, training or old.training)
        try:
            return Policy(metadata, {name: value.detach().numpy().copy() for name, value in self.named_parameters()})
        except ValueError as error:
            raise not_finite(str(error)) from error

    def load(self, policy: Policy) -> None:
        """Copy the parameters of a policy."""
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(torch.from_numpy(policy.tensors[name]))


def not_finite(where: str) -> EngineError:
    """Return the error that ends a training with a NaN or infinite number."""
    return EngineError(
        "Training diverged", f"A number became NaN or infinite ({where}).", "Use a smaller learning rate."
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions of many answers, each with the advantage of its answer.

    features: float32, (n, width); switched: whether the LLM was called, bool, (n,); logp: log-probability of that
    decision when it was drawn, float32, (n,); advantage: float32, (n,).
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
        """Return a batch from sequences of equal length."""
        return cls(
            torch.from_numpy(np.stack(features)),
            torch.tensor(switched, dtype=torch.bool),
            torch.tensor(logp, dtype=torch.float32),
            torch.tensor(advantage, dtype=torch.float32),
        )

    def select(self, indices: Tensor) -> Batch:
        """Return the decisions with these indices."""
        return Batch(self.features[indices], self.switched[indices], self.logp[indices], self.advantage[indices])


def surrogate(logp: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the clipped loss, averaged over all decisions (not first within an answer), and the clipped share.

    -mean(min(r A, clip(r, 1 - 0.2, 1 + 0.28) A)), r = exp(logp - old logp); no KL term.
    """
    ratio = torch.exp(logp - batch.logp)
    unclipped = ratio * batch.advantage
    clipped = torch.clamp(ratio, 1 - CLIP_LOW, 1 + CLIP_HIGH) * batch.advantage
    return -torch.minimum(unclipped, clipped).mean(), (clipped < unclipped).float().mean()


def log_probability(score: Tensor, switched: Tensor) -> Tensor:
    """Return the log-probability of each decision from the scores."""
    return nn.functional.logsigmoid(torch.where(switched, score, -score))


def mean_entropy(score: Tensor) -> Tensor:
    """Return the mean entropy of the decisions in nats, at most ln 2."""
    probability = torch.sigmoid(score)
    switch, stay = nn.functional.logsigmoid(score), nn.functional.logsigmoid(-score)
    return -(probability * switch + (1 - probability) * stay).mean()


@dataclass(frozen=True, slots=True)
class UpdateMetrics:
    """Metrics of an update: clipped share and loss, averaged over its epochs, and the entropy before it."""

    clipped: float
    loss: float
    entropy: float


def update(
    network: Network, optimizer: torch.optim.Optimizer, batch: Batch, *, epochs: int, minibatches: int
) -> UpdateMetrics:
    """Update the network with several epochs over one batch.

    Args:
        network: updated in place.
        optimizer: the optimizer of its parameters.
        batch: the decisions.
        epochs: passes over the batch.
        minibatches: optimizer steps per pass.

    Raises:
        EngineError: a loss or gradient is NaN or infinite; the network is unchanged since the step before.
    """
    losses, clipped = [], []
    with torch.no_grad():
        entropy = float(mean_entropy(network(batch.features)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(batch.logp), generator=generator)
        for indices in order.chunk(minibatches):
            minibatch = batch.select(indices)
            loss, share = surrogate(log_probability(network(minibatch.features), minibatch.switched), minibatch)
            _step(network, optimizer, loss)
            losses.append(float(loss.detach()))
            clipped.append(float(share.detach()))
    return UpdateMetrics(float(np.mean(clipped)), float(np.mean(losses)), entropy)


def _step(network: Network, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    if not torch.isfinite(loss):
        raise not_finite("the loss")
    optimizer.zero_grad()
    loss.backward()
    if not torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), 1.0)):
        raise not_finite("the gradient")
    optimizer.step()
