"""`rstitch bench`: several routers on the same problems, and a report of what each costs and brings.

Knows what the options mean, how Ctrl-C ends a bench, and how its table looks on a terminal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.interrupts import exit_stopped, resumable
from rstitch_local.commands.jobs import checked_specs, job_of
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
    ProblemsArgument,
    PromptOption,
    SamplesOption,
    SeedOption,
    SlmOption,
    StrictOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from rstitch_local.commands.results import print_comparison

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair


def bench(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the bench; made, or gone on with.")],
    router: Annotated[
        list[str] | None,
        typer.Option(
            "--router",
            metavar="SPEC",
            help="A router to compare with the LLM alone; may be given many times.",
            show_default="slm and the pair's own",
        ),
    ] = None,
    pair: PairOption = None,
    limit: LimitOption = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="A,B", help="Only these.", rich_help_panel=PROBLEMS)
    ] = None,
    samples: SamplesOption = 1,
    field: FieldOption = None,
    prompt: PromptOption = None,
    strict: StrictOption = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the figures as well, as PNG and SVG.")] = False,
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
    """Solve the same problems with several routers in turn and say which one wins, by how much, and why.

    Every answer is kept as soon as it is there; the same command again goes on where it stopped, and one with more
    routers adds them. The report is DIR/report.md, its figures are in DIR/figures.csv and DIR/figures.json.
    """
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.plotting import require_matplotlib
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.selection import Selection
    from rstitch_local.study import bench_plots
    from rstitch_local.study.bench import compare_routers, memory_footprints, run_bench
    from rstitch_local.study.bench_findings import bench_findings
    from rstitch_local.study.bench_report import json_text, metadata_of, report_text, write_report

    fields, selection = Fields.parse(field or []), Selection.parse(ids, limit, None)
    # Before anything is read or loaded: a typing error, or a missing library, should cost nothing.
    specs = checked_specs(router or [])
    if plot:
        require_matplotlib()
    chosen = choose_pair(pair, slm, llm)
    own = chosen.defaults.sampling
    sampling = choose_sampling(own, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    screen = make_console(stderr=True)
    if samples > 1 and sampling.temperature == 0:
        screen.print(f"At temperature 0 all {samples} answers to a problem are the same.")
    footprints = memory_footprints({Role.SLM: chosen.slm, Role.LLM: chosen.llm}, kv_type)
    job = job_of(
        file, out, chosen, sampling, router="llm", prompt=prompt, max_tokens=max_tokens, context=context,
        kv_type=kv_type, fields=fields, selection=selection, samples=samples, seed=seed, strict=strict,
    )  # fmt: skip

    def load() -> Pair:
        return open_pair(chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type)

    with resumable(out) as interrupt:
        specs = specs or checked_specs(["slm", chosen.defaults.router])
        outcome = run_bench(job, specs, lambda: interrupt.while_open(load()), screen, interrupt.should_stop)
    figures = compare_routers(outcome, footprints, seed)
    if figures:
        words = bench_findings(figures, outcome.rows, outcome.split)
        drawn = bench_plots.draw(figures, out) if plot else []
        pictures = [path.name for path in drawn if path.suffix == ".svg"]
        facts = metadata_of(outcome)
        record = {"plain_words": words, "measured": facts, "split_problems": outcome.split}
        write_report(out, report_text("Bench", words, facts, figures, pictures), figures, record)
        if json_output:
            typer.echo(json_text(figures, record), nl=False)
        else:
            print_comparison(figures, words)
            screen.print(f"The report is {out / 'report.md'}.", soft_wrap=True)
    elif json_output:
        typer.echo(json.dumps({"routers": []}))
    if not outcome.finished:
        exit_stopped(out, f"{outcome.done} of {outcome.total} answers are kept in {out}.")
