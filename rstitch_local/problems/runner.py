"""One `solve` from a file to a summary: read, choose, open the folder, load what is needed, solve, add up.

Knows the order of things and what goes into run.json. How a pair is found and loaded is the caller's to say.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

import rstitch_local
from rstitch_local.catalog.checksums import sha256_of
from rstitch_local.errors import InputError
from rstitch_local.problems.grading import Grader, grader_identity
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.progress import Progress
from rstitch_local.problems.reading import Fields, ProblemFile, read_problems
from rstitch_local.problems.run_folder import Answer, RunFolder
from rstitch_local.problems.selection import Selection
from rstitch_local.problems.solve import Settings, Starter, solve, tasks_of
from rstitch_local.routing.learned import LearnedRouter, policy_path
from rstitch_local.routing.spec import router_from_spec

_SHOWN_BAD_ROWS = 10


class LoadedPair(Starter, Protocol):
    """A pair that can also say what it is: engine.pair.Pair."""

    def describe(self) -> dict[str, Any]:
        """What was loaded and how, ready for JSON."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one `solve` is asked to do.

    model_settings: what else of the models makes answers comparable: sums of the files, context, cache type.
    pair_name: what the pair is called, for the record.
    samples: answers to every problem; a folder may be continued with another number.
    """

    file: Path
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
    """How it ended: `done` of `total` answers are there, the summary of the whole folder, and its answers."""

    done: int
    total: int
    summary: dict[str, Any]
    answers: Sequence[Answer] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do but what ended in an error."""
        return self.done == self.total


def run_job(
    job: Job,
    load: Callable[[int], AbstractContextManager[LoadedPair]],
    console: Console,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Do it, and go on from where an earlier one stopped.

    Args:
        job: what to do.
        load: opens the pair, told how many answers are to be written; not called when every answer is there.
        console: where progress and left-out rows are shown.
        should_stop: True ends the run after what is done; looked at all the time.

    Raises:
        InputError: the problem file, the choice of problems or the folder cannot be used.
        ModelError: the router is a learned one of another SLM.
        StorageError: the folder is in use or cannot be written.
        RStitchError: whatever `load` raises.
    """
    problem_file = read_problems(job.file, job.fields, strict=job.strict)
    report_bad_rows(problem_file, console)
    problems = job.selection.of(problem_file.problems)
    if not problems:
        raise InputError("Nothing to solve", f"None of the problems of {job.file} is chosen.")
    with RunFolder(job.out) as folder:
        folder.begin(settings_of(job, problem_file), information_of(job, problem_file))
        tasks = tasks_of(problems, job.samples, job.seed, folder.done())
        total = len(problems) * job.samples
        done = total - len(tasks)
        if tasks:
            # The grader imports its mathematics while the models are being loaded.
            with Grader() as grader, load(len(tasks)) as pair:
                folder.note({"loaded": pair.describe()})
                with Progress(console, total, done, folder.answers, lambda: pair.status) as progress:
                    done += solve(pair, tasks, job.settings, grader, folder, progress, should_stop)
        answers = folder.answers
    return Outcome(done, total, {**summary(answers), "malformed_rows": len(problem_file.bad_rows)}, answers)


def settings_of(job: Job, problem_file: ProblemFile) -> dict[str, Any]:
    """What makes answers comparable, for run.json.

    Raises:
        ModelError: the router is a learned one of another SLM, or its file cannot be read.
    """
    return {
        "problems_sha256": problem_file.sha256,
        "fields": asdict(job.fields),
        "prompt": job.settings.prompt.template,
        "models": {**job.model_settings, **_sum_of_router(job)},
        "router": job.settings.router,
        "sampling": asdict(job.settings.sampling),
        "seed": job.seed,
        "max_tokens": job.settings.max_tokens,
        "grader": grader_identity(),
    }


def _sum_of_router(job: Job) -> dict[str, str]:
    """The sha256 of a learned router's file, which can be trained anew under the same name; nothing for others."""
    router = router_from_spec(job.settings.router)
    if not isinstance(router, LearnedRouter):
        return {}
    slm = job.model_settings.get("slm_sha256")
    if slm is not None:
        router.require_slm(slm)
    return {"router_sha256": sha256_of(policy_path(job.settings.router.partition(":")[2]))}


def information_of(job: Job, problem_file: ProblemFile) -> dict[str, Any]:
    """What else is good to know of a run, for run.json."""
    selection = asdict(job.selection)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rstitch": rstitch_local.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "pair": job.pair_name,
        "problems": {"file": problem_file.path.name, "rows": len(problem_file.problems)},
        "prompt_name": job.settings.prompt.name,
        "selection": selection,
        "samples": job.samples,
    }


def report_bad_rows(problem_file: ProblemFile, console: Console) -> None:
    """Name the rows that are left out, the first few of them."""
    for row in problem_file.bad_rows[:_SHOWN_BAD_ROWS]:
        _say(console, f"{problem_file.path.name}, {problem_file.unit} {row.line} is left out: {row.reason}.")
    rest = len(problem_file.bad_rows) - _SHOWN_BAD_ROWS
    if rest > 0:
        _say(console, f"{rest} more are left out as well.")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
