"""Agreement study (figure 1 of the paper): token agreement of the two models, and computed speculative decoding.

Generates both models' greedy answers, scores the LLM's with the SLM, and measures LLM evaluations of several tokens.
The report is in agreement_report.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.chat_template import Message
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.study.answering import generate_answers
from rstitch_local.study.study_job import ProgressCallback, StudyJob

DRAFT_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Draft lengths for which a speed-up is computed."""
_ROUNDS = 5
BatchCosts = Mapping[int, float]
"""Number of tokens in one evaluation by the LLM -> milliseconds."""


@dataclass(frozen=True, slots=True)
class AgreementRun:
    """Both models' rows of answers.jsonl, in the same order, and the LLM's times per evaluation."""

    slm: Sequence[Answer]
    llm: Sequence[Answer]
    batch_ms: BatchCosts


def run_agreement(pair: Pair, job: StudyJob, progress: ProgressCallback) -> AgreementRun:
    """Generate both models' answers, score the LLM's, and measure evaluations; resume if the folder has results.

    Raises:
        InputError: a folder has answers with other settings.
        StorageError: something could not be written; earlier results are on disk.
        GraderError: the grading process does not start.
    """
    with Grader() as grader:
        with RunFolder(job.out / Role.LLM.value) as folder:
            job.begin(folder, Role.LLM, pair)
            llm = generate_answers(pair, Role.LLM, job, folder, grader, progress)
            batch_ms = _stored_costs(folder) or _measure_costs(pair, job, llm, folder, progress)
        with RunFolder(job.out / Role.SLM.value) as folder:
            # The LLM does not score the SLM's answers: no metric needs it.
            job.begin(folder, Role.SLM, pair, score=False)
            slm = generate_answers(pair, Role.SLM, job, folder, grader, progress, score=False)
    return AgreementRun(slm, llm, batch_ms)


def _stored_costs(folder: RunFolder) -> dict[int, float]:
    stored = (folder.header() or {})["information"].get("llm_pass_ms", {})
    try:
        return {int(tokens): float(ms) for tokens, ms in stored.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("Unreadable run", f"{folder.path} has evaluation times that are not numbers.") from error


def _measure_costs(
    pair: Pair, job: StudyJob, rows: Sequence[Answer], folder: RunFolder, progress: ProgressCallback
) -> dict[int, float]:
    """Measure on the answer of median length and store the result in run.json."""
    by_length = sorted(rows, key=lambda row: len(row["answer_tokens"]))
    median = by_length[len(by_length) // 2]
    if not median["answer_tokens"]:
        return {}
    stage = "LLM evaluations"
    progress(stage, 0, 1)
    problem = next(problem for problem in job.problems if problem.id == median["id"])
    batch_ms = measure_evaluations(pair, job.messages(problem), median["answer_tokens"])
    folder.update_information({"llm_pass_ms": {str(tokens): ms for tokens, ms in batch_ms.items()}})
    progress(stage, 1, 1, "measured")
    return batch_ms


def measure_evaluations(pair: Pair, messages: Sequence[Message], answer: Sequence[int]) -> dict[int, float]:
    """Return milliseconds of LLM evaluations of 1 token and of every draft length plus 1.

    Medians of 5 interleaved rounds, starting in the middle of one of the LLM's answers, since an evaluation takes
    longer the more tokens the KV cache holds. Only the last token's logits are computed, which is slightly faster
    than verifying a draft.

    Args:
        pair: a pair without an answer in progress.
        messages: the conversation.
        answer: the answer, in the LLM's vocabulary.
    """
    context = pair.contexts[Role.LLM]
    ids = [*pair.render(messages, Role.LLM), *answer][: context.n_ctx]
    base = max(1, min(len(ids) - len(answer) // 2, len(ids) - max(DRAFT_LENGTHS) - 1))
    sizes = [size for size in (1, *(length + 1 for length in DRAFT_LENGTHS)) if base + size <= len(ids)]
    context.truncate(0, 0)
    times: dict[int, list[int]] = {size: [] for size in sizes}
    # The first round warms up.
    for _ in range(_ROUNDS + 1):
        for size in sizes:
            length = context.truncate(0, base)
            if length < base:
                for _ in evaluate(context, [TokenSpan(0, ids[length:base])]):
                    pass
            times[size] += context.decode([BatchSlice(0, ids[base : base + size])]).ns
    return {size: statistics.median(several[1:]) / 1e6 for size, several in times.items()}


def draft_rounds(agrees: Sequence[bool], draft_length: int) -> list[tuple[int, int]]:
    """Simulate greedy speculative decoding of an answer; return (tokens drafted, tokens accepted) per round.

    Up to the first token the LLM rejects, a draft equals the answer, so the simulation is exact. Every round ends
    with one token of the LLM.

    Args:
        agrees: for every token of the LLM's answer, whether it is the SLM's most likely token at that position.
        draft_length: maximum number of tokens per draft.
    """
    rounds, position = [], 0
    while position < len(agrees):
        drafted = min(draft_length, len(agrees) - position)
        accepted = next((i for i in range(drafted) if not agrees[position + i]), drafted)
        rounds.append((drafted, accepted))
        position += accepted + 1
    return rounds


def computed_speed_up(
    agrees: Sequence[bool], draft_length: int, *, slm_ms: float, llm_ms: float, batch_ms: BatchCosts
) -> float | None:
    """Return the time of the LLM alone divided by that of speculative decoding, for the tokens of one answer.

    A round costs one SLM evaluation per drafted token and one LLM evaluation of all drafted tokens plus one. The LLM's
    times are relative to its evaluation of one token, so that a machine that has become slower since does not matter.

    Args:
        agrees: as in `draft_rounds`.
        draft_length: maximum number of tokens per draft.
        slm_ms: milliseconds per token of the SLM in this answer.
        llm_ms: milliseconds per token of the LLM in this answer.
        batch_ms: measured evaluation times; sizes in between are interpolated.

    Returns:
        None for an empty answer or without measured times.
    """
    rounds = draft_rounds(agrees, draft_length)
    if not rounds or not batch_ms:
        return None
    sizes = sorted(batch_ms)
    relative = [batch_ms[size] / batch_ms[sizes[0]] for size in sizes]
    drafted = [count for count, _ in rounds]
    verification = float(np.interp([count + 1 for count in drafted], sizes, relative).sum()) * llm_ms
    return len(agrees) * llm_ms / (sum(drafted) * slm_ms + verification)


@dataclass(frozen=True, slots=True)
class ProblemAgreement:
    """Metrics of one problem.

    slm_tokens, llm_tokens: answer lengths; slm_correct, llm_correct: verdicts.
    cut_off: models whose answer was cut off.
    agreement: share of the LLM's tokens that are the SLM's most likely ones; None if the SLM scored none.
    speed_ups: computed speed-up by draft length; empty if times are missing.
    slm_ms, llm_ms: milliseconds per token.
    agreed, scored: number of tokens with agreement, and of scored tokens.
    """

    id: str
    slm_tokens: int
    llm_tokens: int
    slm_correct: bool | None
    llm_correct: bool | None
    cut_off: tuple[Role, ...]
    agreement: float | None
    speed_ups: Mapping[int, float]
    slm_ms: float | None
    llm_ms: float | None
    agreed: int
    scored: int


@dataclass(frozen=True, slots=True)
class DraftSpeedup:
    """Computed speculative decoding at one draft length.

    speed_up: over all problems together; median: of the problems' speed-ups.
    faster: number of problems with a speed-up above 1; problems: number of problems.
    accepted: mean number of accepted tokens per draft.
    """

    draft: int
    speed_up: float
    median: float
    faster: int
    problems: int
    accepted: float


@dataclass(frozen=True, slots=True)
class AgreementMetrics:
    """All metrics of a study.

    errors: problems without an answer of both models.
    agreement: over all tokens; quartiles: of the problems' agreement.
    best: draft length with the largest speed-up over all problems.
    batch_ms: milliseconds per LLM evaluation by number of tokens.
    slm_ms, llm_ms: milliseconds per token, median over problems.
    """

    problems: list[ProblemAgreement]
    errors: int
    agreement: float | None
    quartiles: tuple[float, float, float] | None
    drafts: list[DraftSpeedup]
    best: int | None
    batch_ms: BatchCosts
    slm_ms: float | None
    llm_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics under their names in agreement.json."""
        # Two names in the file are older than those of the attributes.
        names = {"batch_ms": "pass_ms", "scored": "read"}
        record = {names.get(name, name): value for name, value in asdict(self).items()}
        record["problems"] = [{names.get(name, name): v for name, v in one.items()} for one in record["problems"]]
        return {**record, "speed_ups": "computed"}


def agreement_metrics(run: AgreementRun) -> AgreementMetrics:
    """Compute all metrics of a study."""
    pairs = [(slm, llm) for slm, llm in zip(run.slm, run.llm, strict=True) if "error" not in (slm["stop"], llm["stop"])]
    problems = [_problem(slm, llm, run.batch_ms) for slm, llm in pairs]
    agreements = [problem.agreement for problem in problems if problem.agreement is not None]
    scored = sum(problem.scored for problem in problems)
    drafts = [speedup for length in DRAFT_LENGTHS if (speedup := _draft(length, problems, pairs)) is not None]
    return AgreementMetrics(
        problems=problems,
        errors=len(run.llm) - len(pairs),
        agreement=sum(problem.agreed for problem in problems) / scored if scored else None,
        quartiles=_quartiles(agreements) if agreements else None,
        drafts=drafts,
        best=max(drafts, key=lambda speedup: speedup.speed_up).draft if drafts else None,
        batch_ms=run.batch_ms,
        slm_ms=_median([problem.slm_ms for problem in problems]),
        llm_ms=_median([problem.llm_ms for problem in problems]),
    )


def _problem(slm: Answer, llm: Answer, batch_ms: BatchCosts) -> ProblemAgreement:
    agrees = llm["agrees"]
    slm_ms, llm_ms = llm["other_decode_ms"], _decode_ms(llm, Role.LLM)
    speed_ups = {}
    if slm_ms and llm_ms:
        for length in DRAFT_LENGTHS:
            speed_up = computed_speed_up(agrees, length, slm_ms=slm_ms, llm_ms=llm_ms, batch_ms=batch_ms)
            if speed_up is not None:
                speed_ups[length] = speed_up
    return ProblemAgreement(
        id=llm["id"],
        slm_tokens=len(slm["answer_tokens"]),
        llm_tokens=len(llm["answer_tokens"]),
        slm_correct=slm["correct"],
        llm_correct=llm["correct"],
        cut_off=tuple(role for role, row in ((Role.SLM, slm), (Role.LLM, llm)) if row["stop"] == "length"),
        agreement=sum(agrees) / len(agrees) if agrees else None,
        speed_ups=speed_ups,
        slm_ms=slm_ms,
        llm_ms=llm_ms,
        agreed=sum(agrees),
        scored=len(agrees),
    )


def _decode_ms(row: Answer, role: Role) -> float | None:
    tokens = row["evaluated"][role]["decode"]
    return row["ms"][role]["decode"] / tokens if tokens else None


def _draft(
    draft_length: int, problems: Sequence[ProblemAgreement], pairs: Sequence[tuple[Answer, Answer]]
) -> DraftSpeedup | None:
    timed = [problem for problem in problems if draft_length in problem.speed_ups]
    if not timed:
        return None
    llm_times = [problem.scored * (problem.llm_ms or 0.0) for problem in timed]
    speed_ups = [problem.speed_ups[draft_length] for problem in timed]
    rounds = [one for _, llm in pairs for one in draft_rounds(llm["agrees"], draft_length)]
    return DraftSpeedup(
        draft_length,
        sum(llm_times) / sum(time / speed_up for time, speed_up in zip(llm_times, speed_ups, strict=True)),
        statistics.median(speed_ups),
        sum(speed_up > 1 for speed_up in speed_ups),
        len(timed),
        statistics.fmean(accepted for _, accepted in rounds),
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(median), float(high)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
