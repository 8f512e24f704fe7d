"""The paper's figure 1 on any pair: how often the two would write the same token, and what that leaves to win.

Knows both models' greedy answers, what the SLM makes of the LLM's, and what passes over several tokens cost. The
report's words are agreement_report.py's.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.chat_template import Message
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.run_folder import Answer, RunFolder
from rstitch_local.study.answering import write_answers
from rstitch_local.study.study_job import ProgressCallback, StudyJob

DRAFTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Draft lengths a speed-up is computed for."""
_ROUNDS = 5
PassCosts = Mapping[int, float]
"""Tokens evaluated in one pass of the LLM -> milliseconds."""


@dataclass(frozen=True, slots=True)
class AgreementRun:
    """Both models' lines of answers.jsonl, in the same order, and the LLM's costs of a pass."""

    slm: Sequence[Answer]
    llm: Sequence[Answer]
    pass_ms: PassCosts


def run_agreement(pair: Pair, job: StudyJob, watch: ProgressCallback) -> AgreementRun:
    """Have both answer, the SLM read the LLM's answers, and measure passes; what was done before is kept.

    Raises:
        InputError: a folder holds answers made with other settings.
        StorageError: something could not be written; all before it is kept.
        GraderError: the grading process does not start.
    """
    rows = {}
    with Grader() as grader:
        for role in (Role.LLM, Role.SLM):
            with RunFolder(job.out / role.value) as folder:
                read = role is Role.LLM
                job.begin(folder, role, pair, score=read)
                rows[role] = write_answers(pair, role, job, folder, grader, watch, read=read)
                if read:
                    pass_ms = _known_costs(folder)
                    by_length = sorted(rows[role], key=lambda row: len(row["answer_tokens"]))
                    middle = by_length[len(by_length) // 2]
                    if not pass_ms and middle["answer_tokens"]:
                        watch("LLM passes", 0, 1)
                        problem = next(problem for problem in job.problems if problem.id == middle["id"])
                        pass_ms = measure_passes(pair, job.messages(problem), middle["answer_tokens"])
                        folder.update_information({"llm_pass_ms": {str(tokens): ms for tokens, ms in pass_ms.items()}})
                        watch("LLM passes", 1, 1, "measured")
    return AgreementRun(rows[Role.SLM], rows[Role.LLM], pass_ms)


def _known_costs(folder: RunFolder) -> dict[int, float]:
    known = (folder.header() or {})["information"].get("llm_pass_ms", {})
    try:
        return {int(tokens): float(ms) for tokens, ms in known.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("Unreadable run", f"{folder.path} has costs of passes that are no numbers.") from error


def measure_passes(pair: Pair, messages: Sequence[Message], written: Sequence[int]) -> dict[int, float]:
    """Milliseconds of the LLM's passes over 1 token and over every draft length and one more.

    Medians of 5, taken in turns, from the middle of one of its own answers on, for a pass costs more the more there
    is in the cache. Only the last token's logits are computed, which is a little less than verifying a draft takes.

    Args:
        pair: not writing an answer at the moment.
        messages: the conversation.
        written: the answer, in the LLM's vocabulary.
    """
    context = pair.contexts[Role.LLM]
    ids = [*pair.render(messages, Role.LLM), *written][: context.n_ctx]
    base = max(1, min(len(ids) - len(written) // 2, len(ids) - max(DRAFTS) - 1))
    sizes = [size for size in (1, *(draft + 1 for draft in DRAFTS)) if base + size <= len(ids)]
    context.truncate(0, 0)
    times: dict[int, list[int]] = {size: [] for size in sizes}
    # One round more than counts: the first one warms up.
    for _ in range(_ROUNDS + 1):
        for size in sizes:
            left = context.truncate(0, base)
            if left < base:
                for _ in evaluate(context, [TokenSpan(0, ids[left:base])]):
                    pass
            times[size] += context.decode([BatchSlice(0, ids[base : base + size])]).ns
    return {size: statistics.median(several[1:]) / 1e6 for size, several in times.items()}


def draft_rounds(agrees: Sequence[bool], draft: int) -> list[tuple[int, int]]:
    """How greedy speculative decoding would go over an answer: per round (tokens drafted, tokens accepted).

    agrees says of every token of the LLM's answer whether the SLM, having read all before it, would write it. Up to
    the first token the LLM refuses, a draft is the answer itself, so this is exact. Every round ends with one token
    of the LLM's own.
    """
    rounds, place = [], 0
    while place < len(agrees):
        drafted = min(draft, len(agrees) - place)
        accepted = next((i for i in range(drafted) if not agrees[place + i]), drafted)
        rounds.append((drafted, accepted))
        place += accepted + 1
    return rounds


def computed_speed_up(
    agrees: Sequence[bool], draft: int, *, slm_ms: float, llm_ms: float, pass_ms: PassCosts
) -> float | None:
    """Time of the LLM alone over that of speculative decoding, tokens of one answer; None for an empty one.

    A round costs a pass of the SLM a drafted token, and one of the LLM over all of them and one more. The LLM's
    passes are taken relative to its pass over one token, so that a machine that was slower by then does not count.

    Args:
        agrees: as in `draft_rounds`.
        draft: draft length.
        slm_ms: a token of the SLM, in this answer.
        llm_ms: a token of the LLM, in this answer.
        pass_ms: measured at several sizes; those between are interpolated.
    """
    rounds = draft_rounds(agrees, draft)
    if not rounds or not pass_ms:
        return None
    sizes = sorted(pass_ms)
    relative = [pass_ms[size] / pass_ms[sizes[0]] for size in sizes]
    drafted = [count for count, _ in rounds]
    verifying = float(np.interp([count + 1 for count in drafted], sizes, relative).sum()) * llm_ms
    return len(agrees) * llm_ms / (sum(drafted) * slm_ms + verifying)


@dataclass(frozen=True, slots=True)
class ProblemAgreement:
    """One problem: lengths in tokens, verdicts, agreement over the LLM's answer, speed-ups by draft length.

    agreement is None where the SLM could not read the answer; a speed-up where nothing could be timed. cut_off
    names the models whose answer ran into its budget.
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
    read: int


@dataclass(frozen=True, slots=True)
class DraftSpeedup:
    """Speculative decoding at one draft length, computed: over all problems together, the median one, how many win.

    accepted: mean tokens of a draft that the LLM takes over.
    """

    draft: int
    speed_up: float
    median: float
    faster: int
    problems: int
    accepted: float


@dataclass(frozen=True, slots=True)
class AgreementMetrics:
    """All that is drawn and written. `best` is the draft length with the largest speed-up overall."""

    problems: list[ProblemAgreement]
    errors: int
    agreement: float | None
    quartiles: tuple[float, float, float] | None
    drafts: list[DraftSpeedup]
    best: int | None
    pass_ms: PassCosts
    slm_ms: float | None
    llm_ms: float | None


def agreement_metrics(run: AgreementRun) -> AgreementMetrics:
    """Everything that follows from a run; no models needed."""
    both = [(slm, llm) for slm, llm in zip(run.slm, run.llm, strict=True) if "error" not in (slm["stop"], llm["stop"])]
    problems = [_problem(slm, llm, run.pass_ms) for slm, llm in both]
    shares = [problem.agreement for problem in problems if problem.agreement is not None]
    read = sum(problem.read for problem in problems)
    drafts = [found for draft in DRAFTS if (found := _draft(draft, problems, both)) is not None]
    return AgreementMetrics(
        problems=problems,
        errors=len(run.llm) - len(both),
        agreement=sum(problem.agreed for problem in problems) / read if read else None,
        quartiles=_quartiles(shares) if shares else None,
        drafts=drafts,
        best=max(drafts, key=lambda found: found.speed_up).draft if drafts else None,
        pass_ms=run.pass_ms,
        slm_ms=_median([problem.slm_ms for problem in problems]),
        llm_ms=_median([problem.llm_ms for problem in problems]),
    )


def _problem(slm: Answer, llm: Answer, pass_ms: PassCosts) -> ProblemAgreement:
    agrees = llm["agrees"]
    slm_ms, llm_ms = llm["other_decode_ms"], _decode_ms(llm, Role.LLM)
    speed_ups = {}
    if slm_ms and llm_ms:
        for draft in DRAFTS:
            found = computed_speed_up(agrees, draft, slm_ms=slm_ms, llm_ms=llm_ms, pass_ms=pass_ms)
            if found is not None:
                speed_ups[draft] = found
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
        read=len(agrees),
    )


def _decode_ms(row: Answer, role: Role) -> float | None:
    tokens = row["evaluated"][role]["decode"]
    return row["ms"][role]["decode"] / tokens if tokens else None


def _draft(
    draft: int, problems: Sequence[ProblemAgreement], both: Sequence[tuple[Answer, Answer]]
) -> DraftSpeedup | None:
    known = [problem for problem in problems if draft in problem.speed_ups]
    if not known:
        return None
    alone = [problem.read * (problem.llm_ms or 0.0) for problem in known]
    speed_ups = [problem.speed_ups[draft] for problem in known]
    rounds = [one for _, llm in both for one in draft_rounds(llm["agrees"], draft)]
    return DraftSpeedup(
        draft,
        sum(alone) / sum(time / speed_up for time, speed_up in zip(alone, speed_ups, strict=True)),
        statistics.median(speed_ups),
        sum(speed_up > 1 for speed_up in speed_ups),
        len(known),
        statistics.fmean(accepted for _, accepted in rounds),
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
