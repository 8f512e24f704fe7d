"""`rstitch tune`: choose the router that satisfies a constraint on one part of the problems; measure it on the rest.

The search is in rstitch_local/study/tuning.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import echo, make_console
from rstitch_local.commands.interrupts import exit_stopped, resumable
from rstitch_local.commands.jobs import checked_specs, make_job
from rstitch_local.commands.options import JsonOption, ModelOptions, ProblemOptions, ProblemsArgument, SamplingOptions
from rstitch_local.commands.results import print_comparison
from rstitch_local.commands.signature import Without, with_option_groups
from rstitch_local.errors import UsageError

if TYPE_CHECKING:
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.pair import Pair
    from rstitch_local.study.tuning import Constraint

CONSTRAINTS = "Constraint (set at most one)"
_DEFAULT_MAX_LOSS = 1.0


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """The constraint that the chosen router satisfies."""

    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            metavar="POINTS",
            min=0.0,
            max=100.0,
            help="Fastest router whose accuracy is at most this many percentage points below the LLM alone.",
            show_default=f"{_DEFAULT_MAX_LOSS:g}",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None
    max_llm_share: Annotated[
        float | None,
        typer.Option(
            "--max-llm-share",
            metavar="S",
            min=0.0,
            max=1.0,
            help="Most accurate router with at most this share of LLM tokens, 0 to 1.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None
    target_ms: Annotated[
        float | None,
        typer.Option(
            "--target-ms",
            metavar="MS",
            min=0.0,
            help="Most accurate router that takes at most this many milliseconds per problem on average.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None

    def constraint(self) -> Constraint:
        """Return the constraint, by default on the loss; raise UsageError if several are set."""
        from rstitch_local.study.tuning import Constraint

        constraints = []
        if self.max_loss is not None:
            constraints.append(Constraint("loss", self.max_loss / 100))
        if self.max_llm_share is not None:
            constraints.append(Constraint("share", self.max_llm_share))
        if self.target_ms is not None:
            constraints.append(Constraint("time", self.target_ms))
        if len(constraints) > 1:
            raise UsageError(
                "Several constraints",
                "--max-loss, --max-llm-share and --target-ms exclude each other.",
                "Set one of them.",
            )
        return constraints[0] if constraints else Constraint("loss", _DEFAULT_MAX_LOSS / 100)


@with_option_groups
def tune(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Tuning folder, created or resumed.")],
    *,
    constraints: ConstraintOptions,
    router: Annotated[
        list[str] | None,
        typer.Option("--router", metavar="SPEC", help="Candidate router; repeatable.", show_default="a grid"),
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Make the chosen router the default of the pair.")] = False,
    models: Annotated[ModelOptions, Without("parallel")],
    problems: Annotated[ProblemOptions, Without("ids", "shard", "samples")],
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Choose a router on one part of a problem file and measure it on the other part.

    The part of a problem depends on its id only. Each answer is saved when it is complete; run the same command again
    to resume.
    """
    from rstitch_local.study import tuning
    from rstitch_local.study.bench import memory_footprints
    from rstitch_local.study.bench_progress import ConsoleBenchProgress
    from rstitch_local.study.tuning_report import tuning_findings, tuning_record, write_tuning

    constraint = constraints.constraint()
    if save and models.slm is not None:
        raise UsageError(
            "No pair to save",
            "--save needs a pair of the catalog, not two files.",
            "Add the files to your models.toml and use --pair, or leave out --save.",
        )
    specs = checked_specs(router or tuning.CANDIDATES)
    choice = models.choose()
    # The router of the job is replaced by each of the candidates.
    job = make_job(file, out, choice, "llm", models=models, problems=problems, sampling=sampling)
    footprints = memory_footprints(choice.files, models.kv_type)
    screen = make_console(stderr=True)
    with _loaded_once(models, choice) as load, resumable(out) as interrupt:
        progress = ConsoleBenchProgress(screen)
        result = tuning.tune(
            job, specs, constraint, lambda: interrupt.while_open(load()), progress, interrupt.should_stop, footprints
        )
    findings = tuning_findings(result, constraint)
    write_tuning(out, findings, result, constraint)
    if json_output:
        typer.echo(json.dumps(tuning_record(findings, result, constraint)))
    elif result.finished:
        print_comparison(result.reported or result.tested, findings)
        echo(f"Report: {out / 'report.md'}", err=True)
    if not result.finished:
        exit_stopped(out, f"Completed work is saved in {out}.")
    if save:
        _save(choice.name, result.chosen, f"{constraint}; on {file.name}")


@contextmanager
def _loaded_once(models: ModelOptions, choice: PairChoice) -> Iterator[Callable[[], AbstractContextManager[Pair]]]:
    """Provide a loader that loads the pair at its first call and keeps it open for the following benches."""
    with ExitStack() as stack:
        opened: list[Pair] = []

        def load() -> AbstractContextManager[Pair]:
            if not opened:
                opened.append(stack.enter_context(models.open_pair(choice)))
            return nullcontext(opened[0])

        yield load


def _save(pair: str, router: str | None, reason: str) -> None:
    """Save the chosen router as the default of the pair; warn if models.toml takes precedence."""
    from rstitch_local import paths
    from rstitch_local.catalog.catalog import user_sets_router
    from rstitch_local.catalog.tuned import save_tuned
    from rstitch_local.routing.spec import absolute_spec
    from rstitch_local.sanitize import one_line

    if router is None:
        echo("No router was chosen, so nothing is saved.", err=True)
        return
    # A relative path would be wrong in another working directory.
    router = absolute_spec(router)
    path = save_tuned(pair, router, one_line(f"{reason}, {datetime.now(UTC):%Y-%m-%d}", 120))
    echo(f"{router} is now the router of the pair {pair} (saved in {path}).", err=True)
    if user_sets_router(pair):
        echo(
            f"{paths.user_catalog()} sets a tau or a router for this pair and takes precedence: remove it there.",
            err=True,
        )
