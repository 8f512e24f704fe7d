"""Run the entropy study: SLM answers, the first harmful token of each wrong one, and probes of the search.

Everything is stored as soon as it exists, so an interrupted study resumes. Metrics are computed in entropy_metrics.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.sanitize import one_line
from rstitch_local.study.answering import generate_answers
from rstitch_local.study.harmful_token import (
    CONTINUATIONS_FILE,
    ContinuationCheck,
    ContinuationStore,
    HarmSearch,
    Probe,
    candidates_of,
    continuation_check,
    find_harmful_token,
    probe,
    probe_positions,
)
from rstitch_local.study.study_job import ProgressCallback, StudyJob


@dataclass(frozen=True, slots=True)
class StudyRun:
    """Data of an entropy study.

    rows: the SLM's row of answers.jsonl for every selected problem.
    harms: search results by id; probed: probes by id; failed: error messages by id of searches that failed.
    continuations: number of continuations of the LLM, and how many of them were cut off.
    log_vocabulary: ln V, for V tokens in the SLM's vocabulary.
    tau: the pair's default threshold.
    """

    rows: Sequence[Answer]
    harms: Mapping[str, HarmSearch]
    probed: Mapping[str, Sequence[Probe]]
    failed: Mapping[str, str]
    continuations: tuple[int, int]
    log_vocabulary: float
    tau: float


def run_study(pair: Pair, job: StudyJob, progress: ProgressCallback, *, checks: int = 20) -> StudyRun:
    """Generate and score answers, search harmful tokens and probe the search; resume if the folder has results.

    Args:
        pair: the loaded pair, without an answer in progress.
        job: problems and settings.
        progress: receives the progress of each stage.
        checks: number of answers whose harmful token is probed, with up to two continuations each.

    Raises:
        InputError: the folder has answers with other settings.
        StorageError: something could not be written; earlier results are on disk.
        GraderError: the grading process does not start.
    """
    with RunFolder(job.out / Role.SLM.value) as folder, Grader() as grader:
        job.begin(folder, Role.SLM, pair)
        rows = generate_answers(pair, Role.SLM, job, folder, grader, progress)
        search = _Search(pair, job, grader, ContinuationStore(folder.path / CONTINUATIONS_FILE), progress)
        problems = {problem.id: problem for problem in job.problems}
        wrong = [(row, problems[row["id"]]) for row in rows if row["correct"] is False and row["stop"] != "error"]
        search.find(wrong)
        search.probe(wrong, checks)
        continuations = search.store.of({row["id"] for row in rows})
    return StudyRun(
        rows=rows,
        harms=search.harms,
        probed=search.probed,
        failed=search.failed,
        continuations=(len(continuations), sum(continuation.stop == "length" for continuation in continuations)),
        log_vocabulary=math.log(pair.weights[Role.SLM].n_vocab),
        tau=pair.defaults.tau,
    )


class _Search:
    """Searches and probes the harmful tokens of all wrong answers."""

    def __init__(
        self, pair: Pair, job: StudyJob, grader: Grader, store: ContinuationStore, progress: ProgressCallback
    ) -> None:
        self._pair = pair
        self._job = job
        self._grader = grader
        self._progress = progress
        self.store = store
        self.harms: dict[str, HarmSearch] = {}
        self.probed: dict[str, list[Probe]] = {}
        self.failed: dict[str, str] = {}

    def _check(self, row: Answer, problem: Problem) -> ContinuationCheck:
        messages = self._job.messages(problem)
        return continuation_check(self._pair, row, messages, self._job.max_tokens, self._grader, self.store)

    def find(self, wrong: Sequence[tuple[Answer, Problem]]) -> None:
        """Search each answer; an EngineError such as NaN logits is recorded and the other answers continue."""
        stage = "Harmful tokens"
        self._progress(stage, 0, len(wrong))
        for count, (row, problem) in enumerate(wrong, start=1):
            try:
                harm = find_harmful_token(candidates_of(row), len(row["answer_tokens"]), self._check(row, problem))
            except EngineError as error:
                self.failed[row["id"]] = f"{error.title}: {error.message}"
                message = "error"
            else:
                llm_answer = self.store.get(row["id"], 0)
                if harm.outcome == "llm_wrong" and llm_answer is not None and llm_answer.stop == "length":
                    harm = replace(harm, outcome="llm_cut_off")
                self.harms[row["id"]] = harm
                message = _describe(harm, row)
            self._progress(stage, count, len(wrong), f"{one_line(row['id'], 40)}: {message}")

    def probe(self, wrong: Sequence[tuple[Answer, Problem]], checks: int) -> None:
        """Probe positions that bisection skipped, in a random sample of the answers that have a harmful token."""
        found = [
            (row, problem, harm.position)
            for row, problem in wrong
            if (harm := self.harms.get(row["id"])) is not None and harm.position is not None
        ]
        # Ordered by a hash of the id: most of the sample stays the same when problems are added.
        found = sorted(found, key=lambda item: random.Random(f"rstitch check {item[0]['id']}").random())[:checks]
        stage = "Checks"
        self._progress(stage, 0, len(found))
        for count, (row, problem, position) in enumerate(found, start=1):
            identifier = row["id"]
            positions = probe_positions(identifier, candidates_of(row), position)
            check = self._check(row, problem)
            try:
                self.probed[identifier] = [probe(prefix_tokens, position, check) for prefix_tokens in positions]
            except EngineError as error:
                self.failed[identifier] = f"{error.title}: {error.message}"
            violations = sum(not probe.as_assumed for probe in self.probed.get(identifier, ()))
            message = f"{violations} of {len(positions)} probes contradict the search"
            self._progress(stage, count, len(found), f"{one_line(identifier, 40)}: {message}")


def _describe(harm: HarmSearch, row: Answer) -> str:
    if harm.position is None:
        return {
            "llm_wrong": "the LLM alone is wrong too",
            "llm_cut_off": "the LLM alone is cut off",
            "recovered": "the LLM answers correctly after the whole answer",
        }[harm.outcome]
    text = one_line(row["pieces"][harm.position], 20)
    return f"token {harm.position + 1} of {len(row['answer_tokens'])}: {text!r}"
