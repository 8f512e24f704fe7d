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
from rstitch_local.commands.jobs import checked_specs, make_job, warn_identical_samples
from rstitch_local.commands.options import JsonOption, ModelOptions, ProblemOptions, ProblemsArgument, SamplingOptions
from rstitch_local.commands.results import print_comparison
from rstitch_local.commands.signature import Without, with_option_groups

if TYPE_CHECKING:
    from rstitch_local.study.bench import BenchOutcome
    from rstitch_local.study.router_metrics import RouterMetrics


@with_option_groups
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
    *,
    models: Annotated[ModelOptions, Without("parallel")],
    problems: Annotated[ProblemOptions, Without("shard")],
    plot: Annotated[bool, typer.Option("--plot", help="Draw the figures as well, as PNG and SVG.")] = False,
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Solve the same problems with several routers in turn and say which one wins, by how much, and why.

    Every answer is kept as soon as it is there; the same command again goes on where it stopped, and one with more
    routers adds them. The report is DIR/report.md, its figures are in DIR/figures.csv and DIR/figures.json.
    """
    from rstitch_local.decoding.roles import Role
    from rstitch_local.plotting import require_libraries
    from rstitch_local.study.bench import compare_routers, memory_footprints, run_bench
    from rstitch_local.study.bench_progress import ConsoleBenchProgress

    # Before anything is read or loaded: hours later would be too late.
    specs = checked_specs(router or [])
    if plot:
        require_libraries("matplotlib")
    choice = models.choose()
    # The router of the job is replaced by each of the specs.
    job = make_job(file, out, choice, "llm", models=models, problems=problems, sampling=sampling)
    screen = make_console(stderr=True)
    warn_identical_samples(job, screen)
    footprints = memory_footprints({Role.SLM: choice.slm, Role.LLM: choice.llm}, models.kv_type)
    with resumable(out) as interrupt:
        specs = specs or checked_specs(["slm", choice.defaults.router])
        progress = ConsoleBenchProgress(screen)
        outcome = run_bench(
            job, specs, lambda: interrupt.while_open(models.open_pair(choice)), progress, interrupt.should_stop
        )
    _report(outcome, compare_routers(outcome, footprints, sampling.seed), out, plot=plot, json_output=json_output)
    if not outcome.finished:
        exit_stopped(out, f"{outcome.done} of {outcome.total} answers are kept in {out}.")


def _report(outcome: BenchOutcome, figures: list[RouterMetrics], out: Path, *, plot: bool, json_output: bool) -> None:
    """Write the report and print it; if no answer is complete, there is none."""
    from rstitch_local.study import bench_plots
    from rstitch_local.study.bench_findings import bench_findings
    from rstitch_local.study.bench_report import json_text, metadata_of, report_text, write_report

    if not figures:
        if json_output:
            typer.echo(json.dumps({"routers": []}))
        return
    words = bench_findings(figures, outcome.rows, outcome.split)
    drawn = bench_plots.draw(figures, out) if plot else []
    pictures = [path.name for path in drawn if path.suffix == ".svg"]
    metadata = metadata_of(outcome)
    record = {"plain_words": words, "measured": metadata, "split_problems": outcome.split}
    write_report(out, report_text("Bench", words, metadata, figures, pictures), figures, record)
    if json_output:
        typer.echo(json_text(figures, record), nl=False)
    else:
        print_comparison(figures, words)
        make_console(stderr=True).print(f"The report is {out / 'report.md'}.", soft_wrap=True)
