"""Predictions of both models at any position of an answer, evaluated on demand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.arguments import are_messages, require_messages, require_steps
from rstitch_local.engine.options import Conversation
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.routing.rules import FixedRouter
from rstitch_local.trace.prediction import Candidate, Prediction


def inspect_position(
    pair: Pair,
    question: str | Conversation,
    steps: Sequence[Step],
    *,
    system: str | None = None,
    prefix: str = "",
    thinking: bool | None = None,
    count: int = 10,
) -> dict[Role, Prediction]:
    """Return the next-token predictions of both models after some steps of an answer.

    Probabilities are those at temperature 1, before any filter. Only tokens that the KV caches do not hold are
    evaluated.

        trace = pair.generate("What is 17 * 23?")
        predictions = inspect_position(pair, "What is 17 * 23?", trace.steps[:5])
        for candidate in predictions[Role.SLM].candidates:
            print(candidate.text, candidate.probability)

    Args:
        pair: a pair that is not generating.
        question: the question, as in `Pair.ask`, or the messages, as in `Pair.chat`.
        steps: the steps of the answer before the position.
        system: the system message of the question.
        prefix: the prefix of the answer.
        thinking: the thinking switch of the answer.
        count: number of candidates per model.

    Returns:
        A prediction for each model.

    Raises:
        UsageError: the question, the messages or the steps are invalid.
        InputError: the position exceeds a context.
        EngineError: the pair is busy or closed, or llama.cpp failed.
    """
    pair.require_open()
    pair.driver.require_idle()
    require_steps("steps", steps)
    if are_messages(question):
        messages = cast(Conversation, question)
        require_messages(messages)
    else:
        messages = pair.conversation(cast(str, question), system)
    prompts = {role: pair.render(messages, role, thinking=thinking, prefix=prefix) for role in Role}
    return {role: _prediction(pair, role, _ids_after(pair, role, prompts, steps), count) for role in Role}


def inspect_all(
    pair: Pair,
    question: str | Conversation,
    steps: Sequence[Step],
    *,
    system: str | None = None,
    prefix: str = "",
    thinking: bool | None = None,
    count: int = 10,
) -> Iterator[dict[Role, Prediction]]:
    """Return the predictions of both models at each step of an answer, one after the other.

    Both models evaluate the whole answer token by token: it takes as long as generating it with each of them.

        for step, prediction in zip(trace.steps, inspect_all(pair, question, trace.steps, count=5)):
            if step.swap_entropy is not None:  # control passed to the LLM here
                print(step.text, prediction[Role.SLM].candidates, prediction[Role.LLM].candidates)

    Args:
        pair: as in `inspect_position`, like all other arguments.
        question: as in `inspect_position`.
        steps: the whole answer: `trace.steps`.
        system: as in `inspect_position`.
        prefix: as in `inspect_position`.
        thinking: as in `inspect_position`.
        count: as in `inspect_position`.

    Yields:
        The predictions at the position of each step.

    Raises:
        RStitchError: as in `inspect_position`.
    """
    require_steps("steps", steps)
    for index in range(len(steps)):
        yield inspect_position(
            pair, question, steps[:index], system=system, prefix=prefix, thinking=thinking, count=count
        )


def _ids_after(pair: Pair, role: Role, prompts: dict[Role, list[int]], steps: Sequence[Step]) -> list[int]:
    """Return one model's token ids of the prompt and the steps."""
    if isinstance(pair.bridge, ForeignBridge):
        # The ids depend on where a model re-tokenized the other's text, which a replay finds out.
        replayed = ForeignTrajectory(
            TrajectoryConfig(
                prompt=prompts,
                bridge=pair.bridge,
                router=FixedRouter(Role.LLM),
                sampler=Sampler(Sampling(), 0),
                max_tokens=len(steps) + 1,
                capacity=dict.fromkeys(Role, sys.maxsize),
                resume_steps=steps,
            )
        )
        ids = list(replayed.ids(role))
    else:
        ids = list(prompts[role])
        for step in steps:
            ids += (step.token,) if step.role is role else pair.bridge.convert(step.token, step.role)
    capacity = pair.contexts[role].n_ctx
    if len(ids) > capacity:
        raise InputError(
            "Position exceeds context",
            f"The position has {len(ids)} tokens before it; the {role.name}'s context holds {capacity}.",
            "Use a larger --context.",
        )
    return ids


def _prediction(pair: Pair, role: Role, ids: list[int], count: int) -> Prediction:
    context, weights = pair.contexts[role], pair.weights[role]
    cached = context.reuse_prefix(0, ids)
    if context.used_cells + len(ids) - cached > context.kv_cells:
        # Evict what earlier answers left in the other sequences.
        for sequence in range(1, context.n_seq_max):
            context.truncate(sequence, 0)
    for output in evaluate(context, [TokenSpan(0, ids[cached:])]):
        entropy = EntropyMeter(len(output.logits)).measure(output.logits).entropy
        logits = output.logits.astype(np.float64)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    top = [int(token) for token in np.argsort(-probabilities, kind="stable")[:count]]
    candidates = [Candidate(token, weights.special_text(token), float(probabilities[token])) for token in top]
    return Prediction(entropy, candidates)
