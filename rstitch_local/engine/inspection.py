"""Both models' likeliest tokens at any place of an answer, evaluated when somebody asks.

Knows how to put a pair's caches at that place; nothing of screens or of why they are looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError
from rstitch_local.llama.chat_template import Message
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.routing.rules import FixedRouter
from rstitch_local.trace.prediction import Candidate, Prediction


def inspect(
    pair: Pair,
    messages: Sequence[Message],
    steps: Sequence[Step],
    *,
    prefix: str = "",
    thinking: bool | None = None,
    count: int = 10,
) -> dict[Role, Prediction]:
    """What both models would write after `steps`, at temperature 1 before any filter.

    The caches are moved there, evaluating only what they do not hold; an answer that goes on later finds them
    by itself again.

    Args:
        pair: not writing an answer at the moment.
        messages: the conversation the answer belongs to.
        steps: the answer up to the place.
        prefix: the text the answer was made to begin with.
        thinking: the switch the answer was written with.
        count: how many candidates of each model.

    Raises:
        InputError: the place lies beyond a context.
        EngineError: the pair is busy or closed, or llama.cpp failed.
    """
    pair.require_open()
    pair.driver.require_idle()
    return {role: _view(pair, role, _ids(pair, role, messages, steps, prefix, thinking), count) for role in Role}


def inspect_all(
    pair: Pair,
    messages: Sequence[Message],
    steps: Sequence[Step],
    *,
    prefix: str = "",
    thinking: bool | None = None,
    count: int = 10,
) -> Iterator[dict[Role, Prediction]]:
    """What both models would have written in the place of each of `steps`, one after the other; as in `inspect`.

    Each model evaluates the whole answer, token by token: it takes as long as both of them writing it.
    """
    for index in range(len(steps)):
        yield inspect(pair, messages, steps[:index], prefix=prefix, thinking=thinking, count=count)


def _ids(
    pair: Pair, role: Role, messages: Sequence[Message], steps: Sequence[Step], prefix: str, thinking: bool | None
) -> list[int]:
    ids = _ids_after(pair, role, messages, steps, prefix, thinking)
    if len(ids) > pair.contexts[role].n_ctx:
        raise InputError(
            "Beyond the context",
            f"The place is {len(ids)} tokens in; the {role.name}'s context holds {pair.contexts[role].n_ctx}.",
            "Load the pair with a larger context.",
        )
    return ids


def _ids_after(
    pair: Pair, role: Role, messages: Sequence[Message], steps: Sequence[Step], prefix: str, thinking: bool | None
) -> list[int]:
    if isinstance(pair.bridge, ForeignBridge):
        # Where a model read what the other one had written is part of how it read it.
        replayed = ForeignTrajectory(
            TrajectoryConfig(
                prompt={each: pair.render(messages, each, thinking=thinking, prefix=prefix) for each in Role},
                bridge=pair.bridge,
                router=FixedRouter(Role.LLM),
                sampler=Sampler(Sampling(), 0),
                max_tokens=len(steps) + 1,
                capacity=dict.fromkeys(Role, sys.maxsize),
                resume_steps=steps,
            )
        )
        return list(replayed.ids(role))
    ids = pair.render(messages, role, thinking=thinking, prefix=prefix)
    for step in steps:
        ids += (step.token,) if step.role is role else pair.bridge.convert(step.token, step.role)
    return ids


def _view(pair: Pair, role: Role, ids: list[int], count: int) -> Prediction:
    context, weights = pair.contexts[role], pair.weights[role]
    left = context.reuse_prefix(0, ids)
    if context.used_cells + len(ids) - left > context.kv_cells:
        # What was left for others to go on from goes first.
        for sequence in range(1, context.n_seq_max):
            context.truncate(sequence, 0)
    for output in evaluate(context, [TokenSpan(0, ids[left:])]):
        entropy = EntropyMeter(len(output.logits)).measure(output.logits).entropy
        logits = output.logits.astype(np.float64)
    share = np.exp(logits - logits.max())
    share /= share.sum()
    likeliest = (int(token) for token in np.argsort(-share, kind="stable")[:count])
    candidates = [Candidate(token, weights.special_text(token), float(share[token])) for token in likeliest]
    return Prediction(entropy, candidates)
