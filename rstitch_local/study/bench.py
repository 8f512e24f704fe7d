"""The same problems solved with several routers in turn, so that a machine that changes its speed is fair to all.

Knows run folders and the order of things; nothing of what figures mean or how they look. Below the folder of a
bench every router has a run folder as `rstitch solve` writes it; bench.json says what concerns them all.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.machine import cache_bytes
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError, RStitchError
from rstitch_local.files import write_json
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.progress import print_bad_rows
from rstitch_local.problems.reading import Problem, ProblemFile, read_problems
from rstitch_local.problems.run_folder import RUN_FILE, Answer, RunFolder
from rstitch_local.problems.runner import Job, information_of, settings_of
from rstitch_local.problems.solving import solve_tasks
from rstitch_local.problems.tasks import Task, tasks_of
from rstitch_local.study.bench_progress import BenchProgress
from rstitch_local.study.router_metrics import BASELINE, MemoryFootprint, RouterMetrics, metrics_of

FORMAT = 1
BENCH_FILE = "bench.json"
_WARM_UP_TOKENS = 4
_PLAIN_NAME = re.compile(r"[A-Za-z0-9.+_-]{1,60}")


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """What a bench has so far.

    done, total: answers, of all routers together.
    rows: by router its lines of answers.jsonl, for the samples of problems that every router has answered.
    split: of those problems, the ones that some routers answered in another sitting than others.
    loaded: what was loaded and how, when answers were last written; empty for a bench without answers.
    information: what run.json of the LLM alone says of the file, the machine and the versions.
    settings: what makes answers comparable, without the router.
    """

    done: int
    total: int
    rows: Mapping[str, Sequence[Answer]]
    split: int
    loaded: Mapping[str, Any]
    information: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do but what ended in an error."""
        return self.done == self.total


def run_bench(
    job: Job,
    routers: Sequence[str],
    load: Callable[[], AbstractContextManager[Pair]],
    console: Console,
    should_stop: Callable[[], bool] = lambda: False,
) -> BenchOutcome:
    """Read a problem file and solve what is chosen of it; for the rest see `run_bench_on`.

    Raises:
        InputError: the problem file, the choice of problems or the folder cannot be used.
        RStitchError: as `run_bench_on`.
    """
    problem_file = read_problems(job.file, job.fields, strict=job.strict)
    print_bad_rows(console, problem_file)
    problems = job.selection.of(problem_file.problems)
    if not problems:
        raise InputError("Nothing to solve", f"None of the problems of {job.file} is chosen.")
    return run_bench_on(problem_file, problems, job, routers, load, console, should_stop)


def run_bench_on(
    problem_file: ProblemFile,
    problems: Sequence[Problem],
    job: Job,
    routers: Sequence[str],
    load: Callable[[], AbstractContextManager[Pair]],
    console: Console,
    should_stop: Callable[[], bool] = lambda: False,
) -> BenchOutcome:
    """Solve problems with the LLM alone and with every router, and go on from where a bench stopped.

    All answer one sample of a problem before any answers the next, in an order drawn for each, and every answer is
    on the disk before the next one begins. Before the first, both models write a few tokens that count for
    nothing: weights come from the disk when they are first used.

    Args:
        problem_file: where they are from.
        problems: one of them at least.
        job: how to solve them; its `out` is the folder of the bench, the router in its settings is not used.
        routers: their specs, which are valid.
        load: opens the pair; not called when every answer is there.
        console: where progress is shown.
        should_stop: True ends the bench after what is done; looked at all the time.

    Raises:
        InputError: the folder cannot be used.
        StorageError: the folder is in use or cannot be written.
        RStitchError: whatever `load` raises.
    """
    if (job.out / RUN_FILE).exists():
        raise InputError("Not a bench", f"{job.out} holds a run of `rstitch solve`.", "Name another --out.")
    # The LLM first: a folder of another bench is refused by it before anything is made there.
    specs = list(dict.fromkeys([BASELINE, *routers]))
    jobs = {
        spec: replace(job, out=job.out / folder_name(spec), settings=replace(job.settings, router=spec))
        for spec in specs
    }
    with ExitStack() as stack:
        folders: dict[str, RunFolder] = {}
        for spec, own in jobs.items():
            folders[spec] = stack.enter_context(RunFolder(own.out))
            folders[spec].begin(settings_of(own, problem_file), information_of(own, problem_file))
        notes = _Notes(job.out)
        tasks = tasks_of(problems, job.samples, job.seed)
        done = {spec: folder.done() for spec, folder in folders.items()}
        left = [(task, [spec for spec in specs if task.key not in done[spec]]) for task in tasks]
        # A router that is added later, or the problem at which a bench was stopped.
        notes.split |= {task.problem.id for task, missing in left if 0 < len(missing) < len(specs)}
        total, open_ = len(tasks) * len(specs), sum(len(missing) for _, missing in left)
        finished = total - open_
        if open_:
            # The grader imports its mathematics while the models are being loaded.
            with Grader() as grader, load() as pair:
                notes.loaded = pair.describe()
                notes.write()
                _warm_up(pair, job, tasks[0], should_stop)
                with BenchProgress(console, total, finished, {s: f.answers for s, f in folders.items()}) as progress:
                    for task, spec in _interleaved(left, job.seed):
                        progress.spec = spec
                        settings, folder = jobs[spec].settings, folders[spec]
                        if not solve_tasks(pair, [task], settings, grader, folder, progress, should_stop):
                            break
                        finished += 1
        answers = {s: {(row["id"], row["sample"]): row for row in f.answers} for s, f in folders.items()}
        everywhere = [task.key for task in tasks if all(task.key in given for given in answers.values())]
        header = folders[BASELINE].header()
        assert header is not None
        return BenchOutcome(
            finished,
            total,
            {spec: [given[key] for key in everywhere] for spec, given in answers.items()},
            len(notes.split & {identifier for identifier, _ in everywhere}),
            notes.loaded,
            header["information"],
            {name: value for name, value in header["settings"].items() if name != "router"},
        )


def compare_routers(
    outcome: BenchOutcome, footprints: Mapping[Role, MemoryFootprint] | None = None, seed: int = 0
) -> list[RouterMetrics]:
    """The figures of every router, the LLM alone first; none before all routers have answered a problem."""
    base = outcome.rows[BASELINE]
    if not base:
        return []
    return [metrics_of(spec, rows, base, footprints=footprints, seed=seed) for spec, rows in outcome.rows.items()]


def memory_footprints(files: Mapping[Role, Path], kv_type: str = "f16") -> dict[Role, MemoryFootprint]:
    """What two model files take, by their headers; raises ModelError for a file that is no model."""
    found = {}
    for role, path in files.items():
        header = check_gguf(path)
        found[role] = MemoryFootprint(header.file_size, cache_bytes(header.kv_bytes_per_token, 1, kv_type))
    return found


def folder_name(spec: str) -> str:
    """The name of a router's folder: its spec with hyphens, and a sum where that could not be a file's name."""
    name = spec.replace(":", "-")
    if _PLAIN_NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", name)[:40] + "-" + hashlib.sha256(spec.encode()).hexdigest()[:8]


def _interleaved(left: Sequence[tuple[Task, list[str]]], seed: int) -> list[tuple[Task, str]]:
    """What is left to do, one sample of a problem after the other, the routers in an order drawn for each."""
    order = []
    for task, specs in left:
        drawn = list(specs)
        # Neither the order on the command line nor the neighbour before gives a router an advantage.
        random.Random(f"{seed}\0{task.problem.id}\0{task.sample}").shuffle(drawn)
        order += [(task, spec) for spec in drawn]
    return order


def _warm_up(pair: Pair, job: Job, task: Task, should_stop: Callable[[], bool]) -> None:
    for router in ("slm", "llm"):
        # What is wrong with a problem is told with its answer.
        with suppress(RStitchError):
            run = pair.chat(
                job.settings.prompt.messages(task.problem.question),
                router=router,
                sampling=job.settings.sampling,
                seed=task.seed,
                max_tokens=_WARM_UP_TOKENS,
                reuse=False,
            )
            for _ in pair.run_all([run], should_stop=should_stop):
                pass


class _Notes:
    """bench.json: the ids of split problems, and what was loaded last."""

    def __init__(self, out: Path) -> None:
        self._path = out / BENCH_FILE
        self.split: set[str] = set()
        self.loaded: dict[str, Any] = {}
        try:
            found = json.loads(self._path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError("another format")
            self.split, self.loaded = {str(identifier) for identifier in found["split"]}, dict(found["loaded"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                "Unreadable bench",
                f"{self._path} is not a bench this version of rstitch can read ({error}).",
                "Without that file the bench goes on, and no longer knows what was answered in which sitting.",
            ) from error

    def write(self) -> None:
        """Replace the file as a whole."""
        write_json(self._path, {"format": FORMAT, "split": sorted(self.split), "loaded": self.loaded}, indent=2)
