"""`rstitch solve`: a problem file in, a folder of graded answers out.

Knows what the options mean and how Ctrl-C ends a run; reading, solving and grading are problems/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.interrupts import exit_stopped, resumable
from rstitch_local.commands.jobs import job_of
from rstitch_local.commands.options import (
    PROBLEMS,
    ContextOption,
    FieldOption,
    GpuLayersOption,
    JsonOption,
    KvTypeOption,
    LimitOption,
    LlmOption,
    MaxTokensOption,
    MinPOption,
    PairOption,
    ParallelOption,
    ProblemsArgument,
    PromptOption,
    RouterOption,
    SamplesOption,
    SeedOption,
    SlmOption,
    StrictOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)

if TYPE_CHECKING:
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.runner import Outcome


def solve(
    file: ProblemsArgument,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="The run folder; made, or gone on with. One a shard."),
    ],
    pair: PairOption = None,
    router: RouterOption = None,
    limit: LimitOption = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="A,B", help="Only these.", rich_help_panel=PROBLEMS)
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only part I of N, each part with a DIR of its own.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None,
    samples: SamplesOption = 1,
    field: FieldOption = None,
    prompt: PromptOption = None,
    parallel: ParallelOption = None,
    strict: StrictOption = False,
    json_output: JsonOption = False,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    min_p: MinPOption = None,
    seed: SeedOption = 0,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
    context: ContextOption = None,
    kv_type: KvTypeOption = "f16",
) -> None:
    """Solve a problem file and grade the answers; the same command again goes on where it stopped.

    An answer that ended in an error is tried again. A folder made with other settings is refused.
    """
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.costs.store import stored_latency
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.engine.machine import AUTO_SEQUENCES
    from rstitch_local.problems.progress import ConsoleProgress
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.runner import run_job
    from rstitch_local.problems.selection import Selection
    from rstitch_local.routing.spec import usable_spec

    fields, selection = Fields.parse(field or []), Selection.parse(ids, limit, shard)
    chosen = choose_pair(pair, slm, llm)
    defaults = chosen.defaults
    # Before anything is read or written: a typing error should cost nothing.
    spec = usable_spec(defaults.router if router is None else router)
    sampling = choose_sampling(defaults.sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    screen = make_console(stderr=True)
    if samples > 1 and sampling.temperature == 0:
        screen.print(f"At temperature 0 all {samples} answers to a problem are the same.")
    job = job_of(
        file, out, chosen, sampling, router=spec, prompt=prompt, max_tokens=max_tokens, context=context,
        kv_type=kv_type, fields=fields, selection=selection, samples=samples, seed=seed, strict=strict,
    )  # fmt: skip

    latency: PairLatency | None = None

    def load(answers: int) -> Pair:
        nonlocal latency
        opened = open_pair(
            chosen,
            gpu_layers=gpu_layers,
            threads=threads,
            context=context,
            kv_type=kv_type,
            # Slots that nobody would use only take memory.
            sequences=parallel if answers >= (parallel or AUTO_SEQUENCES) else answers,
            swaps=spec not in ("slm", "llm"),
        )
        latency = stored_latency(opened)
        return opened

    with resumable(out) as interrupt:
        outcome = run_job(
            job, lambda answers: interrupt.while_open(load(answers)), ConsoleProgress(screen), interrupt.should_stop
        )
    if latency is not None:
        outcome.summary["llm_alone_seconds"] = latency.llm_alone_seconds(outcome.answers)
    report(outcome, out, json_output)


def report(outcome: Outcome, out: Path, json_output: bool) -> None:
    """Print the summary; if answers are missing, say how to resume and exit with code 130."""
    from rstitch_local.problems.progress import summary_text

    typer.echo(json.dumps(outcome.summary) if json_output else summary_text(outcome.summary))
    if not outcome.finished:
        exit_stopped(out, f"{outcome.done} of {outcome.total} answers are kept in {out}.")
