"""`rstitch study`: measure the figures of the paper for any pair, each in a report folder.

The studies are in rstitch_local/study/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import echo, make_console, progress_bars
from rstitch_local.commands.interrupts import resumable
from rstitch_local.commands.jobs import model_settings, read_selected
from rstitch_local.commands.options import ModelOptions, ProblemOptions, ProblemsArgument, SamplingOptions
from rstitch_local.commands.signature import Only, Without, with_option_groups

if TYPE_CHECKING:
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.pair import Pair
    from rstitch_local.study.study_job import ProgressCallback, StudyJob

study = typer.Typer(
    name="study",
    help="Measure the figures of the paper for a pair: reports with plots and data. Requires the extra 'study'.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Report folder, created or resumed; one per study.")
]
StudyModels = Annotated[ModelOptions, Without("parallel")]
StudyProblems = Annotated[ProblemOptions, Only("limit", "field", "prompt")]
StudySampling = Annotated[SamplingOptions, Only("max_tokens")]


@study.command()
@with_option_groups
def entropy(
    file: ProblemsArgument,
    out: OutOption,
    *,
    models: StudyModels,
    problems: StudyProblems,
    checks: Annotated[
        int,
        typer.Option(
            "--checks",
            min=0,
            help="Answers whose harmful token is verified, by up to two continuations each.",
        ),
    ] = 20,
    sampling: StudySampling,
) -> None:
    """Figure 3: the entropy of the SLM, its distribution, and how it relates to errors.

    The SLM answers each problem greedily while the LLM evaluates the same tokens. In each wrong answer, the study
    searches the harmful token: the first one after which the LLM no longer reaches the right answer. Run the same
    command again to resume.
    """
    with _study(file, out, models, problems, sampling) as (pair, job, watch):
        from rstitch_local.study.entropy_report import write_report
        from rstitch_local.study.entropy_study import run_study

        figures = write_report(run_study(pair, job, watch, checks=checks), job)
        counts = figures.answers
        typer.echo(
            f"{counts['right']} right, {counts['wrong']} wrong, {figures.outcomes['found']} with a harmful token"
        )
        if figures.low_entropy_share is not None:
            typer.echo(f"{figures.low_entropy_share:.1%} of {figures.tokens:,} tokens at or below 0.1 nats")
        _print_report_path(out, counts["errors"] + figures.outcomes["failed"])


@study.command()
@with_option_groups
def agreement(
    file: ProblemsArgument,
    out: OutOption,
    *,
    models: StudyModels,
    problems: StudyProblems,
    sampling: StudySampling,
) -> None:
    """Figure 1: token agreement of the models, computed speed-up of speculative decoding, answer lengths.

    Both models answer each problem greedily, and the SLM evaluates the LLM's answers. The speed-ups are computed from
    the agreement and from measured costs. Run the same command again to resume.
    """
    with _study(file, out, models, problems, sampling) as (pair, job, watch):
        from rstitch_local.study.agreement import run_agreement
        from rstitch_local.study.agreement_report import write_agreement_report

        figures = write_agreement_report(run_agreement(pair, job, watch), job)
        if figures.agreement is not None:
            typer.echo(f"The SLM predicts {figures.agreement:.1%} of the LLM's tokens")
        best = next((one for one in figures.drafts if one.draft == figures.best), None)
        if best is not None:
            typer.echo(
                f"Best computed speed-up of speculative decoding: {best.speed_up:.2f}x, draft length {best.draft}"
            )
        _print_report_path(out, figures.errors)


@contextmanager
def _study(
    file: Path, out: Path, models: ModelOptions, problems: ProblemOptions, sampling: SamplingOptions
) -> Iterator[tuple[Pair, StudyJob, ProgressCallback]]:
    """Provide the loaded pair, the job and a progress display; Ctrl-C inside says how to resume and exits with 130."""
    from rstitch_local.plotting import require_libraries

    # Report a missing library before hours of computing.
    require_libraries("matplotlib", "scipy")
    choice = models.choose()
    job = _job(file, out, choice, models, problems, sampling)
    with resumable(out), models.open_pair(choice) as pair, _progress() as watch:
        # Check this before the SLM answers all the problems.
        pair.shared_bridge("A study")
        yield pair, job, watch


def _job(
    file: Path, out: Path, choice: PairChoice, models: ModelOptions, problems: ProblemOptions, sampling: SamplingOptions
) -> StudyJob:
    """Read the problems and return the job; report malformed rows on stderr."""
    from rstitch_local.study.study_job import StudyJob

    problem_file, selected = read_selected(file, problems)
    return StudyJob(
        problem_file=problem_file,
        problems=selected,
        out=out,
        prompt=problems.prompt_for(choice.defaults),
        pair_name=choice.name,
        model_settings=model_settings(choice, models),
        max_tokens=sampling.max_tokens,
        fields=problems.fields(),
        command=_command_line(),
    )


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """Show one bar per stage on a terminal, or one line per completed part elsewhere; on stderr."""
    from rich.progress import MofNCompleteColumn, TaskID, TimeRemainingColumn

    screen = make_console(stderr=True)
    bars: dict[str, TaskID] = {}
    with progress_bars(screen, MofNCompleteColumn(), TimeRemainingColumn()) as progress:

        def watch(stage: str, done: int, total: int, message: str = "") -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)
            if message and not screen.is_terminal:
                echo(f"{stage} {done}/{total}  {message}", err=True)

        yield watch


def _print_report_path(out: Path, failed: int) -> None:
    if failed:
        echo(f"{failed} ended in an error; run the same command again to retry", err=True)
    echo(f"Report: {out / 'report.md'}")


def _command_line() -> str:
    """Return the command line for the report."""
    import shlex

    return shlex.join(["rstitch", *sys.argv[1:]])
