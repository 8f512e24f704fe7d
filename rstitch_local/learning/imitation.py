"""The warm start: before it is let loose, a network imitates the entropy rule, or learns where the models differ.

Needs torch; import it late.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from rstitch_local.learning.dapo import Network, broken
from rstitch_local.learning.rollouts import Decision

CONFIDENCE = 0.9
"""How sure the imitation shall be of what it does: one decision in ten tries the other way."""


def imitate(network: Network, decisions: Sequence[Decision], *, steps: int = 400, rate: float = 3e-3) -> float:
    """Make a network switch with a chance of `CONFIDENCE` where the rule did, and of the rest where it did not.

    Args:
        network: changed in place.
        decisions: with what the rule did.
        steps: of Adam, each over all decisions.
        rate: learning rate at the beginning; it falls to 0.

    Returns:
        The share of the decisions in which its likelier choice is the rule's.

    Raises:
        EngineError: the loss became NaN.
    """
    features = torch.from_numpy(np.stack([decision.features for decision in decisions]))
    switched = torch.tensor([decision.switch for decision in decisions])
    target = torch.where(switched, CONFIDENCE, 1 - CONFIDENCE)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        loss = nn.functional.binary_cross_entropy_with_logits(network(features), target)
        if not torch.isfinite(loss):
            raise broken("the warm start")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return float(((network(features) > 0) == switched).float().mean())


def tell_apart(
    network: Network,
    decisions: Sequence[Decision],
    share: float,
    *,
    steps: int = 800,
    rate: float = 3e-3,
    seed: int = 0,
) -> float:
    """Make a network's score rise with the chance that the LLM prefers another token, at a given share of switches.

    Afterwards the score is moved so that it is above 0 for `share` of the decisions, and stretched so that the median
    decision is made with a chance of `CONFIDENCE`.

    Args:
        network: changed in place.
        decisions: with whether the LLM preferred another token.
        share: of the decisions that are to be switches, between 0 and 1.
        steps: of AdamW, each over 256 decisions; all are seen before any is seen again.
        rate: learning rate at the beginning; it falls to 0.
        seed: of the order.

    Returns:
        The share of the tokens the LLM would change that are among the switches.

    Raises:
        EngineError: the loss became NaN.
    """
    features = torch.from_numpy(np.stack([decision.features for decision in decisions]))
    differ = torch.tensor([float(decision.switch) for decision in decisions])
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    orders = (torch.randperm(len(differ), generator=generator).split(256) for _ in itertools.count())
    for step, chosen in enumerate(itertools.islice(itertools.chain.from_iterable(orders), steps)):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        loss = nn.functional.binary_cross_entropy_with_logits(network(features[chosen]), differ[chosen])
        if not torch.isfinite(loss):
            raise broken("the warm start")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        scores = network(features)
        border = float(torch.quantile(scores, 1 - share))
        away = float((scores - border).abs().median())
        network.outer_bias[1] -= border
        stretch = float(np.log(CONFIDENCE / (1 - CONFIDENCE))) / max(away, 1e-6)
        network.outer_weight *= stretch
        network.outer_bias *= stretch
        return float(((scores > border) * differ).sum() / differ.sum().clamp(min=1.0))
