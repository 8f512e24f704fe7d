"""Reference implementations of the routing rules: stateless functions of the history of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rstitch_local.decoding.roles import Role


class Seen(NamedTuple):
    """One evaluation: the model, the position, and its distribution."""

    role: Role
    position: int
    entropy: float
    top1: float = 1.0
    margin: float = 1.0


Rule = Callable[[Sequence[Seen]], bool]
"""Returns whether the LLM generates next, given all evaluations so far in order."""


def by_position(history: Sequence[Seen]) -> list[float]:
    """Return the entropy of each position: that of the model evaluated there last."""
    return list({seen.position: seen.entropy for seen in history}.values())


def entropy(tau: float) -> Rule:
    return lambda history: history[-1].entropy > tau


def window(length: int, tau: float) -> Rule:
    def rule(history: Sequence[Seen]) -> bool:
        last = by_position(history)[-length:]
        return sum(last) / len(last) > tau

    return rule


def momentum(beta: float, tau: float) -> Rule:
    def rule(history: Sequence[Seen]) -> bool:
        mean, *rest = by_position(history)
        for value in rest:
            mean = beta * mean + (1.0 - beta) * value
        return mean > tau

    return rule


def stay(shortest: int, tau: float) -> Rule:
    def rule(history: Sequence[Seen]) -> bool:
        last_slm = max((index for index, seen in enumerate(history) if seen.role is Role.SLM), default=-1)
        visit = len(history) - 1 - last_slm
        return 0 < visit < shortest or history[-1].entropy > tau

    return rule


def one(tau: float) -> Rule:
    return lambda history: history[-1].role is Role.SLM and history[-1].entropy > tau


def hysteresis(up: float, down: float) -> Rule:
    return lambda history: history[-1].entropy > (up if history[-1].role is Role.SLM else down)


def confidence(threshold: float) -> Rule:
    return lambda history: history[-1].top1 < threshold


def margin(threshold: float) -> Rule:
    return lambda history: history[-1].margin < threshold


RULES: dict[str, Rule] = {
    "entropy:0.3": entropy(0.3),
    "window:1:0.3": window(1, 0.3),
    "window:3:0.3": window(3, 0.3),
    "window:8:0.35": window(8, 0.35),
    "hysteresis:0.5:0.2": hysteresis(0.5, 0.2),
    "hysteresis:0.3:0.3": hysteresis(0.3, 0.3),
    "momentum:0:0.3": momentum(0.0, 0.3),
    "momentum:0.7:0.35": momentum(0.7, 0.35),
    "stay:1:0.3": stay(1, 0.3),
    "stay:3:0.4": stay(3, 0.4),
    "one:0.3": one(0.3),
    "margin:0.3": margin(0.3),
    "confidence:0.4": confidence(0.4),
}
"""The reference rule of each spec."""
