"""`rstitch bench`: compare routers on the same problems.

The measurement and its report are in rstitch_local/study/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import echo, make_console
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
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Bench folder, created or resumed.")],
    router: Annotated[
        list[str] | None,
        typer.Option(
            "--router",
            metavar="SPEC",
            help="Router to compare with the LLM alone; repeatable.",
            show_default="slm and the router of the pair",
        ),
    ] = None,
    *,
    models: Annotated[ModelOptions, Without("parallel")],
    problems: Annotated[ProblemOptions, Without("shard")],
    plot: Annotated[bool, typer.Option("--plot", help="Also plot the results, as PNG and SVG.")] = False,
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Solve the same problems with several routers in turn, and report their accuracy and speed.

    Each answer is saved when it is complete. Run the same command again to resume, or with more routers to add them.
    The report is DIR/report.md; its data are DIR/figures.csv and DIR/figures.json.
    """
    from rstitch_local.plotting import require_libraries
    from rstitch_local.study.bench import compare_routers, memory_footprints, run_bench
    from rstitch_local.study.bench_progress import ConsoleBenchProgress

    # Report an invalid spec or a missing library before anything is read or loaded.
    specs = checked_specs(router or [])
    if plot:
        require_libraries("matplotlib")
    choice = models.choose()
    # The router of the job is replaced by each of the specs.
    job = make_job(file, out, choice, "llm", models=models, problems=problems, sampling=sampling)
    screen = make_console(stderr=True)
    warn_identical_samples(job, screen)
    footprints = memory_footprints(choice.files, models.kv_type)
    with resumable(out) as interrupt:
        specs = specs or checked_specs(["slm", choice.defaults.router])
        progress = ConsoleBenchProgress(screen)
        outcome = run_bench(
            job, specs, lambda: interrupt.while_open(models.open_pair(choice)), progress, interrupt.should_stop
        )
    _report(outcome, compare_routers(outcome, footprints, sampling.seed), out, plot=plot, json_output=json_output)
    if not outcome.finished:
        exit_stopped(out, f"{outcome.done} of {outcome.total} answers are saved in {out}.")


def _report(outcome: BenchOutcome, results: list[RouterMetrics], out: Path, *, plot: bool, json_output: bool) -> None:
    """Write and print the report, unless no problem has an answer of every router."""
    from rstitch_local.study import bench_plots
    from rstitch_local.study.bench_report import BenchReport

    if not results:
        if json_output:
            typer.echo(json.dumps({"routers": []}))
        return
    report = BenchReport.of(outcome, results)
    plots = bench_plots.draw(results, out) if plot else []
    report.write(out, [path.name for path in plots if path.suffix == ".svg"])
    if json_output:
        typer.echo(report.json(), nl=False)
    else:
        print_comparison(results, report.findings)
        echo(f"Report: {out / 'report.md'}", err=True)
