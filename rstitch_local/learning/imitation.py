"""The warm start: before the reinforcement learning, a network imitates a rule by supervised learning.

Requires torch; import it inside functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rstitch_local.learning.dapo import Network, not_finite
from rstitch_local.learning.recording import Decision

CONFIDENCE = 0.9
"""Probability of the imitated decision; one in ten decisions explores the other one."""


def imitate(network: Network, decisions: Sequence[Decision], *, steps: int = 400, learning_rate: float = 3e-3) -> float:
    """Train a network to switch with a probability of `CONFIDENCE` where the rule did, else 1 - `CONFIDENCE`.

    Args:
        network: trained in place.
        decisions: decisions of the rule.
        steps: steps of Adam, each over all decisions.
        learning_rate: initial learning rate; it falls to 0.

    Returns:
        The share of decisions in which the more likely choice of the network is that of the rule.

    Raises:
        EngineError: the loss became NaN.
    """
    features, switched = _tensors(decisions)
    target = torch.where(switched, CONFIDENCE, 1 - CONFIDENCE)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for step in range(steps):
        _set_learning_rate(optimizer, learning_rate * (1 - step / steps))
        _fit(network, optimizer, features, target)
    with torch.no_grad():
        return float(((network(features) > 0) == switched).float().mean())


def learn_differences(
    network: Network,
    decisions: Sequence[Decision],
    share: float,
    *,
    steps: int = 800,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> float:
    """Train a network to score positions by the probability that the LLM prefers another token.

    Then shift the scores so that a share of `share` is above 0, and scale them so that the median decision has a
    probability of `CONFIDENCE`.

    Args:
        network: trained in place.
        decisions: `switch` is whether the LLM preferred another token.
        share: share of the decisions to switch, between 0 and 1.
        steps: steps of AdamW, each over 256 decisions; each pass has a new random order.
        learning_rate: initial learning rate; it falls to 0.
        seed: seed of the order.

    Returns:
        The share of the tokens the LLM would change at which the network switches.

    Raises:
        EngineError: the loss became NaN.
    """
    features, switched = _tensors(decisions)
    differ = switched.float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    passes = (torch.randperm(len(differ), generator=generator).split(256) for _ in itertools.count())
    for step, indices in enumerate(itertools.islice(itertools.chain.from_iterable(passes), steps)):
        _set_learning_rate(optimizer, learning_rate * (1 - step / steps))
        _fit(network, optimizer, features[indices], differ[indices])
    with torch.no_grad():
        scores = network(features)
        threshold = float(torch.quantile(scores, 1 - share))
        distance = float((scores - threshold).abs().median())
        network.outer_bias[1] -= threshold
        scale = float(np.log(CONFIDENCE / (1 - CONFIDENCE))) / max(distance, 1e-6)
        network.outer_weight *= scale
        network.outer_bias *= scale
        return float(((scores > threshold) * differ).sum() / differ.sum().clamp(min=1.0))


def _tensors(decisions: Sequence[Decision]) -> tuple[Tensor, Tensor]:
    features = torch.from_numpy(np.stack([decision.features for decision in decisions]))
    return features, torch.tensor([decision.switch for decision in decisions], dtype=torch.bool)


def _set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _fit(network: Network, optimizer: torch.optim.Optimizer, features: Tensor, target: Tensor) -> None:
    loss = nn.functional.binary_cross_entropy_with_logits(network(features), target)
    if not torch.isfinite(loss):
        raise not_finite("the warm start")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
