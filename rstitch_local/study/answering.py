"""Greedy answers of one model, scored token by token by the other model, in a run folder.

Independent of what a study computes from the answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Bridge
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError, InputError, ModelError
from rstitch_local.llama.chat_template import Message
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.sanitize import one_line
from rstitch_local.study.study_job import ProgressCallback, StudyJob
from rstitch_local.trace.record import Trace

_ENTROPY_DIGITS = 7


class AnswerScore(NamedTuple):
    """Predictions of one model along the answer of the other (teacher forcing), one per position.

    Shorter than the answer if the context of the scoring model is full.

    tokens: its most likely tokens, in its own vocabulary.
    entropies: normalized entropies.
    agrees: whether its most likely token equals the token of the answer.
    decode_ms: mean time of an evaluation of one token; None if there was none.
    """

    tokens: list[int]
    entropies: list[float]
    agrees: list[bool]
    decode_ms: float | None


def generate_answers(
    pair: Pair,
    role: Role,
    job: StudyJob,
    folder: RunFolder,
    grader: Grader,
    progress: ProgressCallback,
    *,
    score: bool = True,
) -> list[Answer]:
    """Answer all problems greedily with one model; answers in the folder are not generated again.

    Args:
        pair: the loaded pair, without an answer in progress.
        role: the model that answers.
        job: problems and settings.
        folder: receives each answer as soon as it is graded.
        grader: compares the answers with the gold answers.
        progress: receives each answer.
        score: let the other model score every answer.

    Returns:
        Rows of answers.jsonl in the order of `job.problems`. In addition to the fields of `rstitch solve`, each has
        `answer_tokens`, `pieces` (their texts) and `entropies` (normalized), and with `score` the predictions of the
        other model: `other_tokens`, `other_entropies`, `agrees` and `other_decode_ms`.

    Raises:
        StorageError: an answer could not be written.
        GraderError: the grading process does not start.
    """
    stage = f"{role.name} answers"
    done = {key[0] for key in folder.done()}
    remaining = [problem for problem in job.problems if problem.id not in done]
    total = len(job.problems)
    progress(stage, total - len(remaining), total)
    for count, problem in enumerate(remaining, start=total - len(remaining) + 1):
        answer = _generate(pair, role, job, problem, grader, score)
        folder.append(answer)
        progress(stage, count, total, f"{one_line(problem.id, 40)}: {_summary(answer)}")
    rows = {row["id"]: row for row in folder.answers}
    return [rows[problem.id] for problem in job.problems]


def _generate(pair: Pair, role: Role, job: StudyJob, problem: Problem, grader: Grader, score: bool) -> Answer:
    messages = job.messages(problem)
    trace = Trace(0)
    scored = AnswerScore([], [], [], None)
    error: str | None = None
    try:
        run = pair.chat(messages, router=role.value, sampling=Sampling(), max_tokens=job.max_tokens)
        trace = run.trace
        run.finish()
        if score:
            scored = score_answer(pair, role.other, messages, [step.token for step in trace.steps])
    except (InputError, EngineError, ModelError) as failure:
        error = f"{failure.title}: {failure.message}"
        trace.stop = "error"
    answer: str | None = None
    correct = None if problem.gold is None else False
    if error is None:
        verdict = grader.grade(problem.gold, trace.text)
        answer, correct, error = verdict.answer, verdict.correct, verdict.note or None
    totals = trace.totals()
    return {
        "id": problem.id,
        "sample": 0,
        "answer": answer,
        "gold": problem.gold,
        "correct": correct,
        "text": trace.text,
        **{name: totals[name] for name in ("stop", "seed", "tokens", "swaps", "evaluated", "ms", "wall_ms", "ttft_ms")},
        "error": error,
        "answer_tokens": [step.token for step in trace.steps],
        "pieces": [step.text for step in trace.steps],
        "entropies": [round(step.entropy, _ENTROPY_DIGITS) for step in trace.steps],
        "other_tokens": scored.tokens,
        "other_entropies": [round(entropy, _ENTROPY_DIGITS) for entropy in scored.entropies],
        "agrees": scored.agrees,
        "other_decode_ms": scored.decode_ms,
    }


def score_answer(pair: Pair, role: Role, messages: Sequence[Message], tokens: Sequence[int]) -> AnswerScore:
    """Return the greedy predictions of one model at every position of the other model's answer.

    The answer is evaluated one token at a time, so the logits are exactly those the model would have had when
    generating: batched kernels round differently.

    Args:
        pair: a pair without an answer in progress.
        role: the model that scores.
        messages: the conversation.
        tokens: the answer, in the vocabulary of the other model.

    Raises:
        EngineError: the pair is busy, NaN logits, or llama.cpp failed.
        ModelError: the models have different tokenizers.
    """
    pair.require_open()
    pair.driver.require_idle()
    bridge = pair.shared_bridge("Scoring an answer")
    context, writer = pair.contexts[role], role.other
    meter = EntropyMeter(pair.weights[role].n_vocab)
    pending = pair.render(messages, role)
    score = AnswerScore([], [], [], None)
    context.truncate(0, 0)
    nanoseconds = evaluations = 0
    for token in tokens:
        if context.length() + len(pending) > context.n_ctx:
            break
        started = time.perf_counter_ns()
        for output in evaluate(context, [TokenSpan(0, pending)]):
            elapsed = time.perf_counter_ns() - started
            prediction = meter.measure(output.logits)
            if len(pending) == 1 and score.tokens:
                nanoseconds, evaluations = nanoseconds + elapsed, evaluations + 1
        score.tokens.append(prediction.token)
        score.entropies.append(prediction.entropy)
        score.agrees.append(tokens_match(bridge, token, writer, prediction.token))
        pending = list(bridge.convert(token, writer))
    return score._replace(decode_ms=nanoseconds / 1e6 / evaluations if evaluations else None)


def tokens_match(bridge: Bridge, token: int, writer: Role, other: int) -> bool:
    """Return whether a token of the writer and one of the other model are equal, or both end the answer."""
    if bridge.convert(token, writer) == (other,):
        return True
    return bridge.vocabularies[writer].is_eog(token) and bridge.vocabularies[writer.other].is_eog(other)


def resume_steps(row: Mapping[str, Any], count: int) -> list[Step]:
    """Return the first `count` steps of an SLM answer, for `Pair.chat(resume_steps=...)`."""
    return [
        Step(position, Role.SLM, token, "", entropy, 0.0, 0, 0.0)
        for position, (token, entropy) in enumerate(
            zip(row["answer_tokens"][:count], row["entropies"][:count], strict=True)
        )
    ]


def _summary(answer: Answer) -> str:
    if answer["stop"] == "error":
        return f"error ({one_line(answer['error'])})"
    verdict = {True: "right", False: "wrong", None: "no gold answer"}[answer["correct"]]
    cut_off = ", cut off" if answer["stop"] == "length" else ""
    agreement = f", agreement {sum(answer['agrees']) / len(answer['agrees']):.0%}" if answer["agrees"] else ""
    return f"{verdict}{cut_off}, {len(answer['answer_tokens'])} tokens{agreement}"
