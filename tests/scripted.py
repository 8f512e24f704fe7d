"""Scripted models and a plain reference of Algorithm 1, for tests that need exactness.

A scripted model's logits are a function of the ids before them, so every order of evaluation must agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from router_rules import Rule, Seen, entropy

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.routing.spec import router_from_spec


@dataclass(frozen=True)
class ScriptedModel:
    """Random logits, seeded by the ids; a larger `spread` (0.1 to 20) gives lower entropies."""

    n_vocab: int
    name: str
    spread: float

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        digest = hashlib.sha256(f"{self.name}:{list(ids)}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        # The scale differs between positions, so that swaps happen in both directions.
        scale = self.spread * rng.random()
        return (rng.standard_normal(self.n_vocab) * scale).astype(np.float32)


def entropy_reference(logits: NDArray[np.float32]) -> float:
    """-sum p ln p / ln V, term by term in float64."""
    x = logits.astype(np.float64)
    p = np.exp(x - x.max())
    p /= p.sum()
    nats = -sum(value * math.log(value) for value in p if value > 0)
    return nats / math.log(len(x)) if len(x) > 1 else 0.0


def seen_reference(role: Role, position: int, logits: NDArray[np.float32]) -> Seen:
    """Return what a rule sees of an evaluation, from the sorted softmax in float64."""
    x = logits.astype(np.float64)
    p = np.sort(np.exp(x - x.max()) / np.exp(x - x.max()).sum())
    second = float(p[-2]) if len(p) > 1 else 0.0
    return Seen(role, position, min(1.0, entropy_reference(logits)), float(p[-1]), float(p[-1]) - second)


def algorithm_1(
    prompt: Sequence[int],
    models: dict[Role, ScriptedModel],
    *,
    tau: float = 0.0,
    rule: Rule | None = None,
    end: int,
    max_tokens: int,
) -> tuple[list[tuple[Role, int]], str]:
    """Generate with greedy R-Stitch and one vocabulary, as in the paper's listing: no caches, no state machine.

    `rule` replaces the rule by tau.
    """
    above = rule or entropy(tau)
    tokens: list[tuple[Role, int]] = []
    history: list[Seen] = []
    active = Role.SLM
    while True:
        logits = models[active].logits([*prompt, *(token for _, token in tokens)])
        history.append(seen_reference(active, len(tokens), logits))
        is_above = above(history)
        if active is Role.SLM and is_above:
            active = Role.LLM
            continue
        token = int(np.argmax(logits))
        tokens.append((active, token))
        if token == end:
            return tokens, "eog"
        if len(tokens) == max_tokens:
            return tokens, "length"
        if active is Role.LLM and not is_above:
            active = Role.SLM


def scripted_vocabulary(n_vocab: int, end: int) -> Vocabulary:
    """Create a vocabulary: token i is the letter chr(97 + i % 26) and i; `end` ends a generation."""
    texts = [f"{chr(97 + i % 26)}{i}".encode() for i in range(n_vocab)]
    return Vocabulary(
        texts=texts,
        end_of_turn=end,
        is_special=lambda token: token == end,
        is_eog=lambda token: token == end,
        piece=lambda token: b"" if token == end else texts[token],
        tokenize=lambda text: [0] * len(text),
    )


class CheckedCache:
    """A model's KV cache; asserts that it holds a prefix of the trajectory and evaluates no token twice."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        self.ids: list[int] = []

    def evaluate(self, ids: Sequence[int], whole: Sequence[int]) -> NDArray[np.float32]:
        assert ids, "nothing to evaluate: there would be no logits"
        self.ids.extend(ids)
        assert self.ids == list(whole[: len(self.ids)]), "the cache is not a prefix of the trajectory"
        return self.model.logits(self.ids)


def run_to_end(trajectory: Trajectory, models: dict[Role, ScriptedModel]) -> list[Step]:
    """Generate a whole answer with checked caches."""
    caches = {role: CheckedCache(models[role]) for role in Role}
    steps = []
    while trajectory.stop_reason is None:
        request = trajectory.request()
        logits = caches[request.role].evaluate(request.ids, trajectory.ids(request.role))
        step = trajectory.advance(logits)
        if step is not None:
            steps.append(step)
    for role in Role:
        assert len(caches[role].ids) == trajectory.cached(role)
    return steps


def make_trajectory(
    prompt: Sequence[int],
    n_vocab: int,
    *,
    router: str,
    end: int = 0,
    max_tokens: int = 40,
    sampling: Sampling | None = None,
    seed: int = 0,
    capacity: int = 10_000,
    resume_steps: Sequence[Step] = (),
    stop: Sequence[str] = (),
) -> Trajectory:
    """Create a trajectory over one scripted vocabulary that both models share."""
    vocabulary = scripted_vocabulary(n_vocab, end)
    return Trajectory(
        TrajectoryConfig(
            prompt={role: list(prompt) for role in Role},
            bridge=Bridge(dict.fromkeys(Role, vocabulary)),
            router=router_from_spec(router, seed=seed),
            sampler=Sampler(sampling or Sampling(), seed),
            max_tokens=max_tokens,
            capacity=dict.fromkeys(Role, capacity),
            resume_steps=resume_steps,
            stop=stop,
        )
    )
