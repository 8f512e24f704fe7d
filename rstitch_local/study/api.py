"""`bench` for Python: problems and routers in, a comparison out, without a console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.router import Router
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.options import merged_sampling
from rstitch_local.errors import UsageError
from rstitch_local.interrupts import Interrupt
from rstitch_local.problems.api import (
    TemporaryFolder,
    problem_source,
    require_positive,
    selection_of,
    settings_for,
    warn_identical_samples,
    warn_incomplete,
    warn_missing_gold,
)
from rstitch_local.problems.pair_source import PairSource
from rstitch_local.problems.reading import Fields, ProblemFile
from rstitch_local.problems.runner import Job
from rstitch_local.problems.tasks import usable_router
from rstitch_local.routing.resolve import RouterLike, resolve_router
from rstitch_local.study.bench import BenchOutcome, compare_routers, folder_name, memory_footprints, run_bench
from rstitch_local.study.bench_observer import BenchObserver
from rstitch_local.study.bench_result import BenchResult
from rstitch_local.study.router_metrics import BASELINE

if TYPE_CHECKING:
    from rstitch_local.engine.options import LoadOptions
    from rstitch_local.engine.pair import Pair


def bench(
    problems: str | Path | Iterable[Mapping[str, Any]],
    pair: Pair | str | None = None,
    routers: RouterLike | Iterable[RouterLike] | Mapping[str, RouterLike] | None = None,
    *,
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
    fields: Mapping[str, str] | None = None,
    strict: bool = False,
    out: str | Path | None = None,
    options: LoadOptions | None = None,
    progress: bool = False,
) -> BenchResult:
    """Solve the same problems with several routers in turn and compare them with the LLM alone.

    All routers answer a problem before any answers the next one, in a random order per problem, one answer at a time
    and without reusing cached prompts, so their times are comparable.

    Example:
        result = bench("problems.jsonl", "demo", ["slm", "entropy:0.05", MyRouter], progress=True)
        print(result.report())
        for metrics in result.routers:
            print(metrics.router, metrics.accuracy, metrics.interval, metrics.speed_up, metrics.p)
        table = pandas.DataFrame(result.to_records())

    The first Ctrl-C ends the bench after the tokens being decoded and returns the finished answers, with a warning; a
    second one raises KeyboardInterrupt.

    Args:
        problems: path of a problem file (JSON Lines or a JSON array), or an iterable of mappings; see `solve`.
        pair: a loaded pair, which stays loaded, or the name of a pair, which is loaded if answers are missing; None
            for the default pair.
        routers: router specs, Router classes, factories, functions or stateless Router instances; or a mapping from
            names to these. A single router needs no list. None for `slm` and the pair's router. The LLM alone is always
            added as "llm".
        sampling: how tokens are sampled; None for the pair's sampling. `temperature`, `top_p`, `top_k` and `min_p`
            change single values of it.
        temperature: 0 for greedy decoding.
        top_p: share of probability to sample from, 0 to 1.
        top_k: number of tokens to sample from; 0 for all.
        min_p: minimum probability relative to the most likely token, 0 to 1.
        seed: the seed of each answer is derived from it, the id and the sample; also the seed of the order of the
            routers and of the bootstrap.
        max_tokens: longest answer in tokens; None for as many as the context holds.
        stop: strings that end an answer; they are not part of it.
        prompt: "math" (reason step by step, answer in a box), "plain" (the question alone), or a template, in which
            `{question}` is replaced. None for the pair's prompt.
        samples: answers per problem and router.
        limit: use the first problems only.
        ids: use these problems only.
        fields: names of the fields, if they are unusual; see `solve`.
        strict: raise at the first malformed row instead of skipping it.
        out: folder of the bench. An existing one is resumed: only missing answers, and those that ended in an error,
            are generated; routers can be added. It receives report.md, figures.csv and figures.json. None for a
            temporary folder, which is deleted with the result.
        options: how to load the pair.
        progress: show progress on stderr.

    Returns:
        The metrics of each router, the comparison with the LLM alone, the answers and the report.

    Raises:
        InputError: the problems, the selection or the folder cannot be used.
        UsageError: an argument is invalid, or two routers have the same name.
        ModelError: the pair cannot be loaded, or a learned router does not fit it.
        StorageError: the folder is in use or cannot be written.
    """
    require_positive(samples=samples, limit=limit, max_tokens=max_tokens)
    source = PairSource.of(pair, options)
    named = named_routers(["slm", source.defaults.router] if routers is None else routers)
    merged = merged_sampling(
        source.defaults.sampling, sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p
    )
    temporary = TemporaryFolder() if out is None else None
    job = Job(
        source=problem_source(problems),
        out=temporary.path if temporary else Path(out or ""),
        settings=settings_for(source, BASELINE, merged, prompt=prompt, max_tokens=max_tokens, stop=stop),
        model_settings=source.model_settings,
        pair_name=source.name,
        fields=Fields.from_mapping(fields or {}),
        selection=selection_of(ids, limit),
        samples=samples,
        seed=seed,
        strict=strict,
    )
    warn_identical_samples(job)
    outcome = _run(job, named, source, progress)
    metrics = compare_routers(outcome, memory_footprints(_model_files(source), source.options.kv_type), seed)
    result = BenchResult(metrics, outcome, job.out, temporary)
    if out is not None:
        result.write()
    warn_incomplete(outcome.done, outcome.total, [failure.error for each in metrics for failure in each.failures])
    return result


def named_routers(routers: RouterLike | Iterable[RouterLike] | Mapping[str, RouterLike]) -> dict[str, RouterLike]:
    """Return the routers by name, without the LLM alone; the default names are those in traces.

    Raises:
        UsageError: a router is invalid or keeps state, or two routers have the same name or folder.
        ModelError: the file of a learned router is missing or damaged.
    """
    if isinstance(routers, Mapping):
        named = {name: usable_router(router) for name, router in routers.items()}
    else:
        named = {}
        for each in [routers] if isinstance(routers, str | Router) or callable(routers) else routers:
            router = usable_router(each)
            name = _name_of(router)
            if named.setdefault(name, router) != router:
                raise UsageError(
                    "Ambiguous router name", f"Two routers are named {name}.", "Pass a mapping from names to routers."
                )
    baseline = named.pop(BASELINE, BASELINE)
    if _name_of(baseline) != BASELINE:
        raise UsageError("Invalid router name", f'"{BASELINE}" is the name of the LLM alone.', "Use another name.")
    folders: dict[str, str] = {}
    for name in named:
        other = folders.setdefault(folder_name(name).casefold(), name)
        if other != name:
            raise UsageError("Ambiguous router name", f"{other} and {name} need the same folder.", "Change one name.")
    return named


def _name_of(router: RouterLike) -> str:
    return router if isinstance(router, str) else resolve_router(router).name


class _Warner(BenchObserver):
    def on_problem_file(self, problem_file: ProblemFile) -> None:
        warn_missing_gold(problem_file)


def _run(job: Job, routers: Mapping[str, RouterLike], source: PairSource, progress: bool) -> BenchOutcome:
    interrupt = Interrupt()

    def load() -> AbstractContextManager[Pair]:
        return interrupt.while_open(source.open())

    observer: BenchObserver = _Warner()
    if progress:
        # Imported here: most callers show nothing.
        from rich.console import Console

        from rstitch_local.study.bench_progress import ConsoleBenchProgress

        observer = ConsoleBenchProgress(Console(stderr=True))
    return run_bench(job, routers, load, observer, interrupt.should_stop)


def _model_files(source: PairSource) -> Mapping[Role, Path]:
    if source.pair is not None:
        return {role: weights.path for role, weights in source.pair.weights.items()}
    assert source.choice is not None
    return source.choice.files
