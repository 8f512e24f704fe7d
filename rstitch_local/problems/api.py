"""`solve` for Python: problems in, graded answers out, without a console."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.arguments import stop_strings
from rstitch_local.engine.options import merged_sampling
from rstitch_local.errors import UsageError, with_python_arguments
from rstitch_local.interrupts import Interrupt
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.pair_source import PairSource, sequences_for
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.reading import Fields, ProblemFile
from rstitch_local.problems.results import SolvedAnswer, SolveResult
from rstitch_local.problems.runner import Job, Outcome, run_job
from rstitch_local.problems.selection import Selection, parse_shard
from rstitch_local.problems.tasks import Settings, usable_router
from rstitch_local.routing.resolve import RouterLike

if TYPE_CHECKING:
    from rstitch_local.engine.options import LoadOptions
    from rstitch_local.engine.pair import Pair


def solve(
    problems: str | Path | Iterable[Mapping[str, Any]],
    pair: Pair | str | None = None,
    *,
    router: RouterLike | None = None,
    sampling: Sampling | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
    stop: str | Sequence[str] = (),
    prompt: str | None = None,
    samples: int = 1,
    limit: int | None = None,
    ids: Iterable[object] | None = None,
    shard: str | None = None,
    fields: Mapping[str, str] | None = None,
    strict: bool = False,
    out: str | Path | None = None,
    parallel: int | None = None,
    options: LoadOptions | None = None,
    progress: bool = False,
) -> SolveResult:
    """Solve problems with a pair and grade the answers.

    Example:
        problems = [{"id": "sum", "question": "What is 17 * 23?", "answer": "391"}]
        result = solve(problems, "demo", router="entropy:0.05", progress=True)
        print(result.accuracy, result.interval)
        table = pandas.DataFrame(result.to_records())

    The first Ctrl-C ends the run after the tokens being decoded and returns the finished answers, with a warning; a
    second one raises KeyboardInterrupt.

    Args:
        problems: path of a problem file (JSON Lines or a JSON array), or an iterable of mappings. `question`, `answer`
            (the gold answer, optional) and `id` (default: the position, from 1) are found under the names that the
            usual benchmarks use.
        pair: a loaded pair, which stays loaded, or the name of a pair, which is loaded if answers are missing; None
            for the default pair.
        router: a router spec, a Router class, a factory or a function; a Router instance only if it is stateless.
            None for the pair's router.
        sampling: how tokens are sampled; None for the pair's sampling. `temperature`, `top_p`, `top_k` and `min_p`
            change single values of it.
        temperature: 0 for greedy decoding.
        top_p: share of probability to sample from, 0 to 1.
        top_k: number of tokens to sample from; 0 for all.
        min_p: minimum probability relative to the most likely token, 0 to 1.
        seed: the seed of each answer is derived from it, the id and the sample.
        max_tokens: longest answer in tokens; None for as many as the context holds.
        stop: strings that end an answer; they are not part of it.
        prompt: "math" (reason step by step, answer in a box), "plain" (the question alone), or a template, in which
            `{question}` is replaced. None for the pair's prompt.
        samples: answers per problem.
        limit: solve the first problems only.
        ids: solve these problems only.
        shard: "i/n" to solve every n-th problem, starting with the i-th.
        fields: names of the fields, if they are unusual: a mapping with the keys question, answer and id. A dot leads
            into an object: `{"answer": "extra.final"}`.
        strict: raise at the first malformed row instead of skipping it.
        out: run folder. An existing one is resumed: only missing answers, and those that ended in an error, are
            generated. None for a temporary folder, which is deleted with the result.
        parallel: answers to generate concurrently; None for as many as memory allows, up to 16. A pair that is loaded
            with one sequence gets more, as in `Pair.generate_many`; one with several keeps their number.
        options: how to load the pair; its `sequences` and `swaps` follow from `parallel` and the router.
        progress: show progress on stderr.

    Returns:
        The answers, their metrics and their traces.

    Raises:
        InputError: the problems, the selection or the folder cannot be used.
        UsageError: an argument is invalid.
        ModelError: the pair cannot be loaded, or a learned router does not fit it.
        EngineError: the pair is closed, or another answer is being generated.
        StorageError: the folder is in use or cannot be written.
    """
    require_positive(samples=samples, limit=limit, max_tokens=max_tokens, parallel=parallel)
    source = PairSource.of(pair, options)
    temporary = TemporaryFolder() if out is None else None
    job = Job(
        source=problem_source(problems),
        out=temporary.path if temporary else Path(out or ""),
        settings=settings_for(
            source,
            usable_router(source.defaults.router if router is None else router),
            merged_sampling(
                source.defaults.sampling, sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p
            ),
            prompt=prompt,
            max_tokens=max_tokens,
            stop=stop,
        ),
        model_settings=source.model_settings,
        pair_name=source.name,
        fields=Fields.from_mapping(fields or {}),
        selection=selection_of(ids, limit, shard),
        samples=samples,
        seed=seed,
        strict=strict,
    )
    warn_identical_samples(job)
    result = _result(job, _run(job, source, parallel, progress), temporary)
    errors = [answer.error for answer in result.answers if answer.stop == "error"]
    warn_incomplete(len(result.answers), result.total, errors)
    return result


def require_positive(**values: int | None) -> None:
    """Raise UsageError if an argument is neither None nor an integer of at least 1."""
    for name, value in values.items():
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise UsageError(f"Invalid {name}", f"{name} is {value!r}, must be an integer of at least 1.")


def problem_source(problems: str | Path | Iterable[Mapping[str, Any]]) -> Path | list[Mapping[str, Any]]:
    """Return the path of a problem file, or the rows as a list.

    Raises:
        UsageError: it is a data frame, whose iterator yields the names of its columns.
    """
    if hasattr(problems, "to_dict"):
        raise UsageError(
            "Invalid problems",
            f"problems is of type {type(problems).__name__}.",
            'Pass a list of mappings: `problems.to_dict("records")`.',
        )
    return Path(problems) if isinstance(problems, str | Path) else list(problems)


def settings_for(
    source: PairSource,
    router: RouterLike,
    sampling: Sampling,
    *,
    prompt: str | None,
    max_tokens: int | None,
    stop: str | Sequence[str],
) -> Settings:
    """Return the settings of a run, with the defaults of the pair for those that are None.

    Raises:
        UsageError: the prompt or a stop string is empty.
    """
    strings = tuple(dict.fromkeys(stop_strings(stop)))
    if "" in strings:
        # The trajectory would raise it too, but only after the models are loaded and run.json is written.
        raise UsageError("Invalid stop string", "stop contains an empty string.", "Use non-empty strings.")
    return Settings(
        router=router,
        sampling=sampling,
        prompt=prompt_of(source.defaults.prompt if prompt is None else prompt, source.defaults.prompt_suffix),
        max_tokens=max_tokens,
        stop=strings,
    )


class TemporaryFolder:
    """A folder that is deleted when this object is garbage-collected, or at exit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="rstitch-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _Warner(Observer):
    def on_problem_file(self, problem_file: ProblemFile) -> None:
        warn_missing_gold(problem_file)


def _run(job: Job, source: PairSource, parallel: int | None, progress: bool) -> Outcome:
    interrupt = Interrupt()
    swaps = job.settings.router_name not in (Role.SLM.value, Role.LLM.value)

    def load(answers: int) -> AbstractContextManager[Pair]:
        return interrupt.while_open(source.open(sequences=sequences_for(answers, parallel), swaps=swaps))

    observer: Observer = _Warner()
    if progress:
        # Imported here: most callers show nothing.
        from rich.console import Console

        from rstitch_local.problems.progress import ConsoleProgress

        observer = ConsoleProgress(Console(stderr=True))
    return run_job(job, load, observer, interrupt.should_stop)


def _result(job: Job, outcome: Outcome, folder: TemporaryFolder | None) -> SolveResult:
    """Select the answers of this run: the folder may contain those of other problems and samples."""
    rows = {(row["id"], row["sample"]): row for row in outcome.answers}
    selected = [
        (row, problem.question)
        for problem in outcome.problems
        for sample in range(job.samples)
        if (row := rows.get((problem.id, sample))) is not None
    ]
    return SolveResult(
        answers=[SolvedAnswer.from_row(row, question) for row, question in selected],
        summary={**summary([row for row, _ in selected]), "malformed_rows": len(outcome.bad_rows)},
        total=outcome.total,
        bad_rows=outcome.bad_rows,
        folder=job.out,
        temporary=folder,
    )


def selection_of(ids: Iterable[object] | None, limit: int | None, shard: str | None = None) -> Selection:
    """Return the selection of problems for arguments of `solve` and `bench`."""
    return Selection(
        None if ids is None else tuple(dict.fromkeys(str(each) for each in ids)),
        limit,
        None if shard is None else parse_shard(shard),
    )


def warn_identical_samples(job: Job) -> None:
    """Warn if several samples are requested with greedy decoding."""
    if job.samples > 1 and job.settings.sampling.temperature == 0:
        warnings.warn(f"At temperature 0 all {job.samples} samples of a problem are the same.", stacklevel=3)


def warn_missing_gold(problem_file: ProblemFile) -> None:
    """Warn that answers will not be graded, unless the rows have nothing that could be a gold answer."""
    if problem_file.gold_note and problem_file.has_unread_fields:
        # The caller of `solve` or `bench`.
        warnings.warn(with_python_arguments(problem_file.gold_note), stacklevel=6)


def warn_incomplete(done: int, total: int, errors: Sequence[str | None]) -> None:
    """Warn the caller of `solve` or `bench` of an interruption and of answers that failed."""
    if done < total:
        warnings.warn(f"Interrupted after {done} of {total} answers.", stacklevel=3)
    if errors:
        warnings.warn(f"{len(errors)} answers ended in an error. The first one: {errors[0]}", stacklevel=3)
