"""A run from a problem file to a summary: read, select, open the run folder, load the pair, solve, sum up.

Does not choose or load models itself: the caller passes a function that does.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rstitch_local
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader, grader_identity
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.observer import Observer, RunStart
from rstitch_local.problems.reading import Fields, Problem, ProblemFile, read_problems
from rstitch_local.problems.rows import BadRow
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.selection import Selection
from rstitch_local.problems.solving import solve_tasks
from rstitch_local.problems.tasks import Settings, Task, tasks_of
from rstitch_local.routing.learned import LearnedRouter, policy_path
from rstitch_local.routing.resolve import resolve_router
from rstitch_local.routing.spec import LEARNED

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair

LoadPair = Callable[[int], AbstractContextManager["Pair"]]
"""Opens the pair; called with the number of answers to generate."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that one run is made of, apart from the pair.

    source: the problem file, or rows from Python.
    out: the run folder.
    model_settings: what makes answers comparable besides `settings`: sha256 of the model files, context, KV cache type.
    pair_name: name of the pair, for run.json.
    samples: answers per problem; a run folder may be resumed with another number.
    """

    source: Path | Sequence[Mapping[str, Any]]
    out: Path
    settings: Settings
    model_settings: Mapping[str, Any]
    pair_name: str
    fields: Fields = field(default_factory=Fields)
    selection: Selection = field(default_factory=Selection)
    samples: int = 1
    seed: int = 0
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a run folder after a run.

    done: number of answers to the selected problems; total: their number when the run is complete.
    summary: metrics of all answers of the folder.
    answers: all answers of the folder.
    problems: the selected problems.
    bad_rows: rows of the problem file that were skipped.
    """

    done: int
    total: int
    summary: dict[str, Any]
    answers: Sequence[Answer] = ()
    problems: Sequence[Problem] = ()
    bad_rows: Sequence[BadRow] = ()

    @property
    def finished(self) -> bool:
        """Whether every answer exists, including those that ended in an error."""
        return self.done == self.total


def run_job(
    job: Job,
    load: LoadPair,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Solve the selected problems of a file; resume if the run folder has answers.

    Args:
        job: what to solve, and how.
        load: opens the pair; not called if all answers exist.
        observer: receives skipped rows and progress; None for no output.
        should_stop: polled between evaluations; True ends the run and keeps the finished answers.

    Raises:
        InputError: the problem file, the selection or the folder cannot be used.
        ModelError: the router is a learned one that was trained with another SLM.
        StorageError: the folder is in use or cannot be written.
        RStitchError: any error of `load`.
    """
    observer = observer or Observer()
    problem_file = read_problems(job.source, job.fields, strict=job.strict)
    observer.on_problem_file(problem_file)
    problems = job.selection.of_file(problem_file)
    with RunFolder(job.out) as folder:
        folder.begin(settings_of(job, problem_file), information_of(job, problem_file))
        if folder.notice:
            observer.on_notice(folder.notice)
        tasks = tasks_of(problems, job.samples, job.seed, folder.done())
        total = len(problems) * job.samples
        done = total - len(tasks)
        if tasks:
            done += _solve(job, tasks, total, folder, load, observer, should_stop)
        answers = folder.answers
    metrics = {**summary(answers), "malformed_rows": len(problem_file.bad_rows)}
    return Outcome(done, total, metrics, answers, problems, problem_file.bad_rows)


def _solve(
    job: Job,
    tasks: Sequence[Task],
    total: int,
    folder: RunFolder,
    load: LoadPair,
    observer: Observer,
    should_stop: Callable[[], bool],
) -> int:
    # The grading process imports its libraries while the models are loaded.
    with Grader() as grader, load(len(tasks)) as pair:
        folder.update_information({"loaded": pair.describe()})
        observer.on_start(RunStart(total, total - len(tasks), folder.answers, lambda: pair.status))
        try:
            return solve_tasks(pair, tasks, job.settings, grader, folder, observer, should_stop)
        finally:
            observer.on_end()


def settings_of(job: Job, problem_file: ProblemFile) -> dict[str, Any]:
    """Return the settings of run.json: everything that answers of one folder must have in common.

    Raises:
        ModelError: the router is a learned one that was trained with another SLM, or its file cannot be read.
    """
    return {
        "problems_sha256": problem_file.sha256,
        "fields": asdict(job.fields),
        "prompt": job.settings.prompt.template,
        "models": {**job.model_settings, **_sha256_of_router(job)},
        "router": job.settings.router_name,
        "sampling": asdict(job.settings.sampling),
        "seed": job.seed,
        "max_tokens": job.settings.max_tokens,
        # Absent without stop strings, so that folders of version 0.1 can be resumed.
        **({"stop": list(job.settings.stop)} if job.settings.stop else {}),
        "grader": grader_identity(),
    }


def _sha256_of_router(job: Job) -> dict[str, str]:
    name = job.settings.router_name
    router = resolve_router(job.settings.router).router
    # Only the file of a learned router can change under the same name.
    if not isinstance(router, LearnedRouter) or not name.startswith(f"{LEARNED}:"):
        return {}
    slm = job.model_settings.get("slm_sha256")
    if slm is not None:
        router.require_slm(slm)
    return {"router_sha256": sha256_of(policy_path(name.partition(":")[2]))}


def information_of(job: Job, problem_file: ProblemFile) -> dict[str, Any]:
    """Return the information of run.json, which does not have to match for a run to be resumed."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rstitch": rstitch_local.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "pair": job.pair_name,
        "problems": {
            "file": problem_file.name,
            "rows": len(problem_file.problems),
            # As it was given, for `rstitch grade --field`.
            **({"path": str(job.source)} if isinstance(job.source, Path) else {}),
        },
        "prompt_name": job.settings.prompt.name,
        "selection": asdict(job.selection),
        "samples": job.samples,
    }
