"""`rstitch study`: the paper's figures on any pair, each as a folder with a report.

Knows what the options mean, how progress is shown and how Ctrl-C ends a study; the studies are study/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.interrupts import resumable
from rstitch_local.commands.jobs import sha256_of_pair
from rstitch_local.commands.options import (
    ContextOption,
    FieldOption,
    GpuLayersOption,
    KvTypeOption,
    LimitOption,
    LlmOption,
    MaxTokensOption,
    PairOption,
    ProblemsArgument,
    PromptOption,
    SlmOption,
    ThreadsOption,
)
from rstitch_local.errors import InputError

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair
    from rstitch_local.study.study_job import ProgressCallback, StudyJob

study = typer.Typer(
    name="study",
    help="The paper's figures on your own pair: reports with figures and their data. Needs the extra 'study'.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where the report goes; made, or gone on with. One a study.")
]


@study.command()
def entropy(
    file: ProblemsArgument,
    out: OutOption,
    pair: PairOption = None,
    limit: LimitOption = None,
    checks: Annotated[
        int,
        typer.Option(
            "--checks", min=0, help="Answers in which the harmful token is checked, by up to two continuations each."
        ),
    ] = 20,
    field: FieldOption = None,
    prompt: PromptOption = None,
    max_tokens: MaxTokensOption = None,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
    context: ContextOption = None,
    kv_type: KvTypeOption = "f16",
) -> None:
    """Figure 3: how unsure the SLM is, where, and whether that tells of its mistakes.

    The SLM answers every problem greedily and the LLM reads along; in every wrong answer the first token is searched
    from which the LLM, going on, no longer gets it right. The same command again goes on where it stopped.
    """
    with _study(file, out, pair, limit, field, prompt, max_tokens, slm, llm, gpu_layers, threads, context, kv_type) as (
        loaded,
        job,
        watch,
    ):
        from rstitch_local.study.entropy_report import write_report
        from rstitch_local.study.entropy_study import run_study

        figures = write_report(run_study(loaded, job, watch, checks=checks), job)
        counts = figures.answers
        typer.echo(
            f"{counts['right']} right, {counts['wrong']} wrong, {figures.outcomes['found']} with a harmful token"
        )
        if figures.sure_share is not None:
            typer.echo(f"{figures.sure_share:.1%} of {figures.tokens:,} tokens at or below 0.1 nats")
        _say_where(out, counts["errors"] + figures.outcomes["failed"])


@study.command()
def agreement(
    file: ProblemsArgument,
    out: OutOption,
    pair: PairOption = None,
    limit: LimitOption = None,
    field: FieldOption = None,
    prompt: PromptOption = None,
    max_tokens: MaxTokensOption = None,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
    context: ContextOption = None,
    kv_type: KvTypeOption = "f16",
) -> None:
    """Figure 1: how often the two write the same token, what drafts would win, how long answers are.

    Both answer every problem greedily and the SLM reads the LLM's answers along. Speed-ups of speculative decoding are
    computed from that and from measured costs. The same command again goes on where it stopped.
    """
    with _study(file, out, pair, limit, field, prompt, max_tokens, slm, llm, gpu_layers, threads, context, kv_type) as (
        loaded,
        job,
        watch,
    ):
        from rstitch_local.study.agreement import run_agreement
        from rstitch_local.study.agreement_report import write_agreement_report

        figures = write_agreement_report(run_agreement(loaded, job, watch), job)
        if figures.agreement is not None:
            typer.echo(f"The SLM would write {figures.agreement:.1%} of the LLM's tokens")
        best = next((one for one in figures.drafts if one.draft == figures.best), None)
        if best is not None:
            typer.echo(f"Speculative decoding: {best.speed_up:.2f}x with drafts of {best.draft} at best (computed)")
        _say_where(out, figures.errors)


@contextmanager
def _study(
    file: Path,
    out: Path,
    pair: str | None,
    limit: int | None,
    field: list[str] | None,
    prompt: str | None,
    max_tokens: int | None,
    slm: Path | None,
    llm: Path | None,
    gpu_layers: str,
    threads: int | None,
    context: int | None,
    kv_type: str,
) -> Iterator[tuple[Pair, StudyJob, ProgressCallback]]:
    """A loaded pair, the job and the progress; Ctrl-C inside says how to go on and ends with exit code 130."""
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.commands.loading import open_pair
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.plotting import require_matplotlib
    from rstitch_local.problems.prompts import prompt_of
    from rstitch_local.problems.reading import Fields, read_problems
    from rstitch_local.problems.selection import Selection
    from rstitch_local.study.study_job import StudyJob

    # Before anything is read or computed: hours later would be too late.
    require_matplotlib()
    fields = Fields.parse(field or [])
    chosen = choose_pair(pair, slm, llm)
    defaults = chosen.defaults
    problem_file = read_problems(file, fields)
    problems = Selection(limit=limit).of(problem_file.problems)
    if not problems:
        raise InputError("Nothing to study", f"None of the problems of {file} is chosen.")
    screen = make_console(stderr=True)
    for row in problem_file.bad_rows[:10]:
        screen.print(f"{file.name}, {problem_file.unit} {row.line} is left out: {row.reason}.", soft_wrap=True)
    if len(problem_file.bad_rows) > 10:
        screen.print(f"{len(problem_file.bad_rows) - 10} more are left out as well.")
    job = StudyJob(
        problem_file=problem_file,
        problems=problems,
        out=out,
        prompt=prompt_of(defaults.prompt if prompt is None else prompt, defaults.prompt_suffix),
        pair_name=chosen.name,
        model_settings={**sha256_of_pair(chosen), "context": context or defaults.context, "kv_type": kv_type},
        max_tokens=max_tokens,
        fields=fields,
        command=_command_line(),
    )
    with (
        resumable(out),
        open_pair(chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type) as loaded,
        _progress() as watch,
    ):
        # Check this before the SLM answers all the problems.
        loaded.shared_bridge("A study")
        yield loaded, job, watch


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A bar for every stage on a terminal, a line for every part of it anywhere else; on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    screen = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:

        def watch(stage: str, done: int, total: int, message: str = "") -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)
            if message and not screen.is_terminal:
                screen.print(f"{stage} {done}/{total}  {message}", soft_wrap=True)

        yield watch


def _say_where(out: Path, failed: int) -> None:
    if failed:
        typer.echo(f"{failed} ended in an error; the same command tries them again", err=True)
    typer.echo(f"The report is {out / 'report.md'}")


def _command_line() -> str:
    """The command as it was given, for the report."""
    import shlex

    return shlex.join(["rstitch", *sys.argv[1:]])
