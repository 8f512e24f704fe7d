"""Running the entropy study: the SLM's answers, the first harmful token of each wrong one, checks of the search.

Knows the order of things, and that what was done before is kept; what follows from it is entropy_figures.py's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.run_folder import Answer, RunFolder
from rstitch_local.sanitize import one_line
from rstitch_local.study.answering import write_answers
from rstitch_local.study.harmful_token import (
    CONTINUATIONS_FILE,
    Harm,
    Probe,
    Verdicts,
    candidates_of,
    continuation_oracle,
    find_harm,
    probe,
    probes_of,
)
from rstitch_local.study.study_job import ProgressCallback, StudyJob


@dataclass(frozen=True, slots=True)
class StudyRun:
    """What was run: every chosen problem's answer, and what the search and its check found, by id.

    continuations: how many the LLM wrote, and how many of them were cut off.
    """

    rows: Sequence[Answer]
    harms: Mapping[str, Harm]
    probed: Mapping[str, Sequence[Probe]]
    failed: Mapping[str, str]
    continuations: tuple[int, int]
    log_vocabulary: float
    tau: float


def run_study(pair: Pair, job: StudyJob, watch: ProgressCallback, *, checks: int = 20) -> StudyRun:
    """Answer, read along, search the harmful tokens and check the search; what was done before is kept.

    Args:
        pair: loaded, with nothing running on it.
        job: what to study.
        watch: told how far it is.
        checks: answers whose harmful token is checked, by up to two continuations each.

    Raises:
        InputError: the folder holds answers made with other settings.
        StorageError: something could not be written; all before it is kept.
        GraderError: the grading process does not start.
    """
    with RunFolder(job.out / Role.SLM.value) as folder, Grader() as grader:
        job.begin(folder, Role.SLM, pair)
        rows = write_answers(pair, Role.SLM, job, folder, grader, watch)
        search = _Search(pair, job, grader, Verdicts(folder.path / CONTINUATIONS_FILE))
        questions = {problem.id: problem for problem in job.problems}
        wrong = [(row, questions[row["id"]]) for row in rows if row["correct"] is False and row["stop"] != "error"]
        search.find(wrong, watch)
        search.check(wrong, watch, checks)
        verdicts = search.verdicts.of({row["id"] for row in rows})
    log_vocabulary = math.log(pair.weights[Role.SLM].n_vocab)
    continuations = len(verdicts), sum(verdict.stop == "length" for verdict in verdicts)
    return StudyRun(rows, search.harms, search.probed, search.failed, continuations, log_vocabulary, pair.defaults.tau)


class _Search:
    """The harmful tokens of all wrong answers."""

    def __init__(self, pair: Pair, job: StudyJob, grader: Grader, verdicts: Verdicts) -> None:
        self._pair = pair
        self._job = job
        self._grader = grader
        self.verdicts = verdicts
        self.harms: dict[str, Harm] = {}
        self.probed: dict[str, list[Probe]] = {}
        self.failed: dict[str, str] = {}

    def _oracle(self, row: Answer, problem: Problem) -> Any:
        messages = self._job.messages(problem)
        return continuation_oracle(self._pair, row, messages, self._job.max_tokens, self._grader, self.verdicts)

    def find(self, wrong: Sequence[tuple[Answer, Problem]], watch: ProgressCallback) -> None:
        """Search each; one that fails (broken logits) is noted, and the others go on."""
        stage = "Harmful tokens"
        watch(stage, 0, len(wrong))
        for place, (row, problem) in enumerate(wrong, start=1):
            try:
                harm = find_harm(candidates_of(row), len(row["answer_tokens"]), self._oracle(row, problem))
            except EngineError as error:
                self.failed[row["id"]] = f"{error.title}: {error.message}"
                said = "error"
            else:
                alone = self.verdicts.get(row["id"], 0)
                if harm.outcome == "llm_wrong" and alone is not None and alone.stop == "length":
                    harm = replace(harm, outcome="llm_cut_off")
                self.harms[row["id"]] = harm
                said = _told(harm, row)
            watch(stage, place, len(wrong), f"{one_line(row['id'], 40)}: {said}")

    def check(self, wrong: Sequence[tuple[Answer, Problem]], watch: ProgressCallback, checks: int) -> None:
        """Look at places bisection passed over, in a random sample of the answers that have a harmful token."""
        found = [(row, problem) for row, problem in wrong if self._position(row) is not None]
        # By a hash of the id: most of a sample stays the same when more problems are studied.
        found = sorted(found, key=lambda one: random.Random(f"rstitch check {one[0]['id']}").random())[:checks]
        stage = "Checks"
        watch(stage, 0, len(found))
        for place, (row, problem) in enumerate(found, start=1):
            identifier, position = row["id"], self._position(row)
            assert position is not None
            places = probes_of(identifier, candidates_of(row), position)
            oracle = self._oracle(row, problem)
            try:
                self.probed[identifier] = [probe(kept, position, oracle) for kept in places]
            except EngineError as error:
                self.failed[identifier] = f"{error.title}: {error.message}"
            wrong_ones = sum(not probe.as_assumed for probe in self.probed.get(identifier, ()))
            said = f"{wrong_ones} of {len(places)} places not as bisection assumes"
            watch(stage, place, len(found), f"{one_line(identifier, 40)}: {said}")

    def _position(self, row: Answer) -> int | None:
        harm = self.harms.get(row["id"])
        return harm.position if harm is not None else None


def _told(harm: Harm, row: Answer) -> str:
    if harm.position is None:
        return {
            "llm_wrong": "the LLM alone is wrong as well",
            "llm_cut_off": "the LLM alone is cut off",
            "recovered": "still in the LLM's reach at its end",
        }[harm.outcome]
    piece = one_line(row["pieces"][harm.position], 20)
    return f"token {harm.position + 1} of {len(row['answer_tokens'])} ({piece})"
