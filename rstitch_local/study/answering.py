"""Greedy answers of one model, each with what the other model would have written at every place, kept in a run folder.

Knows a loaded pair, run folders and the grader; nothing of what is studied in the answers.
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
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Answer, RunFolder
from rstitch_local.sanitize import one_line
from rstitch_local.study.study_job import ProgressCallback, StudyJob
from rstitch_local.trace.record import Trace

OTHER = {Role.SLM: Role.LLM, Role.LLM: Role.SLM}
_DIGITS = 7


class SecondReading(NamedTuple):
    """What one model makes of the other's answer, position by position.

    tokens: its arg-max, in its own vocabulary; entropies: normalised; agrees: whether that is what was written.
    May be shorter than the answer, where the reader's context is.
    decode_ms: mean time of a pass over one token of the answer, None where there was none.
    """

    tokens: list[int]
    entropies: list[float]
    agrees: list[bool]
    decode_ms: float | None


def write_answers(
    pair: Pair,
    role: Role,
    job: StudyJob,
    folder: RunFolder,
    grader: Grader,
    watch: ProgressCallback,
    *,
    read: bool = True,
) -> list[Answer]:
    """Have one model answer all problems greedily and, with `read`, the other read each; what is there is kept.

    Returns:
        The chosen problems' lines of answers.jsonl, in the order of the file. Besides what `rstitch solve` writes
        each has `answer_tokens`, `pieces` (their texts), `entropies` (normalised), and of the other model
        `other_tokens`, `other_entropies`, `agrees` and `other_decode_ms`.

    Raises:
        StorageError: an answer could not be written.
        GraderError: the grading process does not start.
    """
    stage = f"{role.name} answers"
    done = {key[0] for key in folder.done()}
    left = [problem for problem in job.problems if problem.id not in done]
    count = len(job.problems)
    watch(stage, count - len(left), count)
    for place, problem in enumerate(left, start=count - len(left) + 1):
        answer = _answer(pair, role, job, problem, grader, read)
        folder.append(answer)
        watch(stage, place, count, f"{one_line(problem.id, 40)}: {_told(answer)}")
    rows = {row["id"]: row for row in folder.answers}
    return [rows[problem.id] for problem in job.problems]


def _answer(pair: Pair, role: Role, job: StudyJob, problem: Problem, grader: Grader, read: bool) -> Answer:
    messages = job.messages(problem)
    trace = Trace(0)
    reading = SecondReading([], [], [], None)
    error: str | None = None
    try:
        run = pair.chat(messages, router=role.value, sampling=Sampling(), max_tokens=job.max_tokens)
        trace = run.trace
        for _ in run:
            pass
        if read:
            reading = read_along(pair, OTHER[role], messages, [step.token for step in trace.steps])
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
        "entropies": [round(step.entropy, _DIGITS) for step in trace.steps],
        "other_tokens": reading.tokens,
        "other_entropies": [round(entropy, _DIGITS) for entropy in reading.entropies],
        "agrees": reading.agrees,
        "other_decode_ms": reading.decode_ms,
    }


def read_along(pair: Pair, reader: Role, messages: Sequence[Message], written: Sequence[int]) -> SecondReading:
    """What one model would have written greedily at every place of the other's answer.

    The answer is evaluated token by token: a context gives the logits of a pass's last token only, and so they are
    those the reader would have had when writing, by the same kernels.

    Args:
        pair: not writing an answer at the moment.
        reader: who reads.
        messages: the conversation.
        written: the answer's tokens, in the vocabulary of the other model.

    Raises:
        EngineError: the pair is busy, broken logits, or llama.cpp failed.
        ModelError: the two models have different tokenisers.
    """
    pair.require_open()
    pair.driver.require_idle()
    bridge = pair.shared_bridge("Reading along")
    context, writer = pair.contexts[reader], OTHER[reader]
    meter = EntropyMeter(pair.weights[reader].n_vocab)
    missing = pair.render(messages, reader)
    reading = SecondReading([], [], [], None)
    context.truncate(0, 0)
    nanoseconds = passes = 0
    for token in written:
        if context.length() + len(missing) > context.n_ctx:
            break
        started = time.perf_counter_ns()
        for output in evaluate(context, [TokenSpan(0, missing)]):
            elapsed = time.perf_counter_ns() - started
            found = meter.measure(output.logits)
            if len(missing) == 1 and reading.tokens:
                nanoseconds, passes = nanoseconds + elapsed, passes + 1
        reading.tokens.append(found.token)
        reading.entropies.append(found.entropy)
        reading.agrees.append(same_token(bridge, token, writer, found.token))
        missing = list(bridge.convert(token, writer))
    return reading._replace(decode_ms=nanoseconds / 1e6 / passes if passes else None)


def same_token(bridge: Bridge, token: int, writer: Role, other: int) -> bool:
    """Whether what one model wrote and what the other would write mean the same: one text, or an end for both."""
    if bridge.convert(token, writer) == (other,):
        return True
    return bridge.vocabularies[writer].is_eog(token) and bridge.vocabularies[OTHER[writer]].is_eog(other)


def steps_of(row: Mapping[str, Any], count: int) -> list[Step]:
    """The first `count` steps of an SLM's answer, for another answer to go on from."""
    return [
        Step(position, Role.SLM, token, "", entropy, 0.0, 0, 0.0)
        for position, (token, entropy) in enumerate(
            zip(row["answer_tokens"][:count], row["entropies"][:count], strict=True)
        )
    ]


def _told(answer: Answer) -> str:
    if answer["stop"] == "error":
        return f"error ({one_line(answer['error'])})"
    verdict = {True: "right", False: "wrong", None: "no gold answer"}[answer["correct"]]
    cut = ", cut off" if answer["stop"] == "length" else ""
    agreed = f", agreement {sum(answer['agrees']) / len(answer['agrees']):.0%}" if answer["agrees"] else ""
    return f"{verdict}{cut}, {len(answer['answer_tokens'])} tokens{agreed}"
