"""Solve the same problems with several routers in turn, so that a change of the machine's speed affects all alike.

In the folder of a bench every router has a run folder as `rstitch solve` writes it; bench.json holds what concerns
all of them. Metrics are computed in router_metrics.py; nothing is displayed here.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.machine import cache_bytes
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError, RStitchError
from rstitch_local.files import INVALID_RECORD, exists, read_json, write_json
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.reading import Problem, ProblemFile, read_problems
from rstitch_local.problems.rows import BadRow
from rstitch_local.problems.run_folder import RUN_FILE, RunFolder
from rstitch_local.problems.runner import Job, information_of, settings_of
from rstitch_local.problems.solving import solve_tasks
from rstitch_local.problems.tasks import Task, tasks_of
from rstitch_local.routing.resolve import RouterLike
from rstitch_local.sanitize import one_line
from rstitch_local.study.bench_observer import BenchObserver, BenchStart, RouterObserver
from rstitch_local.study.router_metrics import BASELINE, MemoryFootprint, RouterMetrics, metrics_of

FORMAT = 1
BENCH_FILE = "bench.json"
_MAX_FILE_BYTES = 1 << 24
_WARM_UP_TOKENS = 4
_SAFE_NAME = re.compile(r"[A-Za-z0-9.+_-]{1,60}")

LoadPair = Callable[[], AbstractContextManager[Pair]]
"""Opens the pair."""
Routers = Sequence[str] | Mapping[str, RouterLike]
"""Router specs, or routers by name."""


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """Answers of a bench so far.

    done, total: number of answers of all routers.
    rows: by router its rows of answers.jsonl, for the samples of problems that every router has answered.
    split: number of those problems that some routers answered in a different session than others.
    loaded: description of the loaded pair when answers were last generated; empty for a bench without answers.
    information: information in run.json of the LLM alone: problem file, machine, versions.
    settings: settings that all answers share, without the router.
    problems: the selected problems.
    bad_rows: rows of the problem file that were skipped.
    """

    done: int
    total: int
    rows: Mapping[str, Sequence[Answer]]
    split: int
    loaded: Mapping[str, Any]
    information: Mapping[str, Any]
    settings: Mapping[str, Any]
    problems: Sequence[Problem] = ()
    bad_rows: Sequence[BadRow] = ()

    @property
    def finished(self) -> bool:
        """Whether every answer exists, including those that ended in an error."""
        return self.done == self.total


def run_bench(
    job: Job,
    routers: Routers,
    load: LoadPair,
    observer: BenchObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> BenchOutcome:
    """Read a problem file and run a bench on the selected problems; see `run_bench_on`.

    Raises:
        InputError: the problem file, the selection or the folder cannot be used.
        RStitchError: as in `run_bench_on`.
    """
    observer = observer or BenchObserver()
    problem_file = read_problems(job.source, job.fields, strict=job.strict)
    observer.on_problem_file(problem_file)
    problems = job.selection.of_file(problem_file)
    return run_bench_on(problem_file, problems, job, routers, load, observer, should_stop)


def run_bench_on(
    problem_file: ProblemFile,
    problems: Sequence[Problem],
    job: Job,
    routers: Routers,
    load: LoadPair,
    observer: BenchObserver | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> BenchOutcome:
    """Solve problems with the LLM alone and with every router; resume if the folder has answers.

    All routers answer one sample of a problem before any answers the next one, in a random order per sample. Every
    answer is on disk before the next one starts. Before the first answer both models generate a few tokens that are
    discarded, because weights are read from disk when they are first used.

    Args:
        problem_file: the file the problems are from.
        problems: at least one problem.
        job: settings; `job.out` is the folder of the bench, the router in `job.settings` is ignored.
        routers: valid router specs, or routers by name; the LLM alone is added as "llm".
        load: opens the pair; not called if all answers exist.
        observer: receives progress; None for no output.
        should_stop: polled between evaluations; True ends the bench and keeps the finished answers.

    Raises:
        InputError: the folder cannot be used.
        StorageError: the folder is in use or cannot be written.
        RStitchError: any error of `load`.
    """
    if exists(job.out / RUN_FILE):
        raise InputError("Not a bench", f"{job.out} holds a run of `rstitch solve`.", "Choose another --out.")
    with ExitStack() as stack:
        observer = observer or BenchObserver()
        bench = _Bench(problem_file, problems, job, routers, stack)
        for notice in bench.notices:
            observer.on_notice(notice)
        if bench.done < bench.total:
            bench.generate(load, observer, should_stop)
        return bench.outcome()


class _Bench:
    """An open bench: the run folders of its routers, bench.json, and the remaining tasks."""

    def __init__(
        self,
        problem_file: ProblemFile,
        problems: Sequence[Problem],
        job: Job,
        routers: Routers,
        stack: ExitStack,
    ) -> None:
        self._job = job
        self._problems = problems
        self._bad_rows = problem_file.bad_rows
        self._jobs: dict[str, Job] = {}
        self._folders: dict[str, RunFolder] = {}
        # The LLM alone first: it refuses the folder of another bench before anything is created there.
        named = routers if isinstance(routers, Mapping) else {spec: spec for spec in routers}
        for name, router in {BASELINE: BASELINE, **named}.items():
            router_job = replace(job, out=job.out / folder_name(name), settings=replace(job.settings, router=router))
            folder = stack.enter_context(RunFolder(router_job.out))
            folder.begin(settings_of(router_job, problem_file), information_of(router_job, problem_file))
            self._jobs[name], self._folders[name] = router_job, folder
        self._file = _BenchFile(job.out)
        self._tasks = tasks_of(problems, job.samples, job.seed)
        answered = {router: folder.done() for router, folder in self._folders.items()}
        self._remaining = [
            (task, [router for router in self._jobs if task.key not in answered[router]]) for task in self._tasks
        ]
        # Problems that only some routers have answered: a router was added, or the bench was interrupted there.
        self._file.split |= {task.problem.id for task, missing in self._remaining if 0 < len(missing) < len(self._jobs)}
        self.total = len(self._tasks) * len(self._jobs)
        self.done = self.total - sum(len(missing) for _, missing in self._remaining)
        self.notices = [folder.notice for folder in self._folders.values() if folder.notice]

    def generate(self, load: LoadPair, observer: BenchObserver, should_stop: Callable[[], bool]) -> None:
        """Generate the remaining answers."""
        # The grading process imports its libraries while the models are loaded.
        with Grader() as grader, load() as pair:
            self._file.loaded = pair.describe()
            self._file.write()
            _warm_up(pair, self._job, self._tasks[0], should_stop)
            answers = {router: folder.answers for router, folder in self._folders.items()}
            observer.on_start(BenchStart(self.total, self.done, answers))
            try:
                self._solve(pair, grader, observer, should_stop)
            finally:
                observer.on_end()

    def _solve(self, pair: Pair, grader: Grader, observer: BenchObserver, should_stop: Callable[[], bool]) -> None:
        observers = {router: RouterObserver(router, observer) for router in self._jobs}
        for task, router in _interleave(self._remaining, self._job.seed):
            settings, folder = self._jobs[router].settings, self._folders[router]
            # Without reuse of cached prompts, the time of every answer includes its prompt evaluation.
            if not solve_tasks(pair, [task], settings, grader, folder, observers[router], should_stop, reuse=False):
                return
            self.done += 1

    def outcome(self) -> BenchOutcome:
        """Return the answers so far."""
        answers = {
            router: {(row["id"], row["sample"]): row for row in folder.answers}
            for router, folder in self._folders.items()
        }
        common = [task.key for task in self._tasks if all(task.key in rows for rows in answers.values())]
        header = self._folders[BASELINE].header()
        assert header is not None
        return BenchOutcome(
            done=self.done,
            total=self.total,
            rows={router: [rows[key] for key in common] for router, rows in answers.items()},
            split=len(self._file.split & {identifier for identifier, _ in common}),
            loaded=self._file.loaded,
            information=header["information"],
            settings={name: value for name, value in header["settings"].items() if name != "router"},
            problems=self._problems,
            bad_rows=self._bad_rows,
        )


def compare_routers(
    outcome: BenchOutcome, footprints: Mapping[Role, MemoryFootprint] | None = None, seed: int = 0
) -> list[RouterMetrics]:
    """Return the metrics of every router, the LLM alone first; [] if no problem was answered by all routers."""
    baseline = outcome.rows[BASELINE]
    if not baseline:
        return []
    return [
        metrics_of(router, rows, baseline, footprints=footprints, seed=seed) for router, rows in outcome.rows.items()
    ]


def memory_footprints(files: Mapping[Role, Path], kv_type: str = "f16") -> dict[Role, MemoryFootprint]:
    """Return the memory of two model files from their headers; raises ModelError for a file that is not a model."""
    footprints = {}
    for role, path in files.items():
        header = check_gguf(path)
        footprints[role] = MemoryFootprint(header.file_size, cache_bytes(header.kv_bytes_per_token, 1, kv_type))
    return footprints


def folder_name(router: str) -> str:
    """Return the name of a router's folder: colons become hyphens; other special characters require a hash suffix."""
    name = router.replace(":", "-")
    if _SAFE_NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", name)[:40] + "-" + hashlib.sha256(router.encode()).hexdigest()[:8]


def _interleave(remaining: Sequence[tuple[Task, list[str]]], seed: int) -> list[tuple[Task, str]]:
    """Return (task, router) pairs task by task, the routers of each task in a random order."""
    order = []
    for task, routers in remaining:
        # A fixed order would favor a router by its neighbor, for example by the state of the CPU caches.
        shuffled = list(routers)
        random.Random(f"{seed}\0{task.problem.id}\0{task.sample}").shuffle(shuffled)
        order += [(task, router) for router in shuffled]
    return order


def _warm_up(pair: Pair, job: Job, task: Task, should_stop: Callable[[], bool]) -> None:
    for role in Role:
        # An error of this problem is reported with its answer.
        with suppress(RStitchError):
            run = pair.chat(
                job.settings.prompt.messages(task.problem.question),
                router=role.value,
                sampling=job.settings.sampling,
                seed=task.seed,
                max_tokens=_WARM_UP_TOKENS,
                reuse=False,
            )
            for _ in pair.run_all([run], should_stop=should_stop):
                pass


class _BenchFile:
    """bench.json: the ids of split problems, and the description of the pair loaded last."""

    def __init__(self, out: Path) -> None:
        self._path = out / BENCH_FILE
        self.split: set[str] = set()
        self.loaded: dict[str, Any] = {}
        try:
            record = read_json(self._path, _MAX_FILE_BYTES)
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']} is not {FORMAT}")
            self.split, self.loaded = {str(identifier) for identifier in record["split"]}, dict(record["loaded"])
        except FileNotFoundError:
            return
        except (OSError, *INVALID_RECORD) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise InputError(
                "Unreadable bench",
                f"{self._path} cannot be read by this version of rstitch: {reason}.",
                "Delete the file to resume the bench without its record of sessions.",
            ) from error

    def write(self) -> None:
        record = {"format": FORMAT, "split": sorted(self.split), "loaded": self.loaded}
        write_json(self._path, record, indent=2, what="bench")
