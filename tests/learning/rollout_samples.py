"""Problems, a cost model and a policy for the tests of rollouts and training with the demo pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from rstitch_local.builtin import SLM_FILE
from rstitch_local.builtin.word_problems import generate
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.learning.reward import AnswerChecker
from rstitch_local.learning.rollouts import RolloutSampler
from rstitch_local.problems.reading import Problem
from rstitch_local.routing.policy import Policy, PolicyMetadata

SLM_COSTS = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0.05, 0.05), decode=(0, 0.1)))
LLM_COSTS = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0.3, 0.3), decode=(0, 0.6)))
LATENCY = PairLatency(slm=SLM_COSTS, llm=LLM_COSTS)


def problems(seed: int, count: int) -> list[Problem]:
    made = [generate(seed, index, steps=2) for index in range(count)]
    return [Problem(f"{seed}-{i}", p.question, str(p.answer), i + 1) for i, p in enumerate(made)]


def demo_policy(scale: float = 0.0, bias: float = 0.0, sha256: str | None = None) -> Policy:
    """Return a policy for the demo pair's SLM: random weights of size `scale`, and a bias towards switching."""
    metadata = PolicyMetadata(sha256 or sha256_of(SLM_FILE), 96, 0.001)
    rng = np.random.default_rng(0)
    shapes = {"inner_weight": (8, metadata.width), "inner_bias": (8,), "outer_weight": (2, 8)}
    tensors = {name: (rng.normal(size=shape) * scale).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {"norm_scale": np.ones(96, np.float32), "norm_shift": np.zeros(96, np.float32)}
    return Policy(metadata, {**tensors, "outer_bias": np.array([0, bias], np.float32)})


@contextmanager
def demo_sampler() -> Iterator[RolloutSampler]:
    """Load the demo pair with eight sequences."""
    with load_pair("demo", options=LoadOptions(sequences=8, threads=1)) as pair, closing(AnswerChecker()) as checker:
        yield RolloutSampler(pair, LATENCY, checker, max_tokens=120)
