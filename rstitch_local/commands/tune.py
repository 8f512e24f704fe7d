"""`rstitch tune`: the router that fits a wish, chosen on one part of the rows and measured on the other.

Knows what the options mean and where the choice is saved.
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

from rstitch_local.commands.console import make_console
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

CONSTRAINTS = "What to keep to (one of them)"
_DEFAULT_MAX_LOSS = 1.0


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """The constraint the router has to satisfy; at most one of them is set."""

    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            metavar="POINTS",
            min=0.0,
            max=100.0,
            help="The fastest that is at most so many points less right than the LLM alone.",
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
            help="The most right of those whose LLM writes at most this share of the tokens, 0 to 1.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None
    target_ms: Annotated[
        float | None,
        typer.Option(
            "--target-ms",
            metavar="MS",
            min=0.0,
            help="The most right of those that take at most so many milliseconds a problem, on average.",
            rich_help_panel=CONSTRAINTS,
        ),
    ] = None

    def constraint(self) -> Constraint:
        """Return the constraint, by default a maximal loss; raise UsageError if there are several."""
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
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the tuning; made, or gone on with.")],
    *,
    constraints: ConstraintOptions,
    router: Annotated[
        list[str] | None,
        typer.Option("--router", metavar="SPEC", help="A candidate; may be given many times.", show_default="a grid"),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Make the choice the pair's own router, for ask, solve and chat.")
    ] = False,
    models: Annotated[ModelOptions, Without("parallel")],
    problems: Annotated[ProblemOptions, Without("ids", "shard", "samples")],
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Choose a router on one part of a problem file and say how it does on the other part.

    Which part a problem belongs to depends on its id alone. Every answer is kept as soon as it is there; the same
    command again goes on where it stopped.
    """
    from rstitch_local.decoding.roles import Role
    from rstitch_local.study import tuning
    from rstitch_local.study.bench import memory_footprints
    from rstitch_local.study.bench_progress import ConsoleBenchProgress
    from rstitch_local.study.tuning_report import tuning_findings, tuning_record, write_tuning

    constraint = constraints.constraint()
    if save and models.slm is not None:
        raise UsageError(
            "Nothing to save it for",
            "A choice is saved for a pair of the catalogue, not for two files.",
            "Put the files into your models.toml and name that pair (--pair), or leave --save out.",
        )
    specs = checked_specs(router or tuning.CANDIDATES)
    choice = models.choose()
    # The router of the job is replaced by each of the candidates.
    job = make_job(file, out, choice, "llm", models=models, problems=problems, sampling=sampling)
    footprints = memory_footprints({Role.SLM: choice.slm, Role.LLM: choice.llm}, models.kv_type)
    screen = make_console(stderr=True)
    with _loaded_once(models, choice) as load, resumable(out) as interrupt:
        progress = ConsoleBenchProgress(screen)
        result = tuning.tune(
            job, specs, constraint, lambda: interrupt.while_open(load()), progress, interrupt.should_stop, footprints
        )
    words = tuning_findings(result, constraint)
    write_tuning(out, words, result, constraint)
    if json_output:
        typer.echo(json.dumps(tuning_record(words, result, constraint)))
    elif result.finished:
        print_comparison(result.reported or result.tested, words)
        screen.print(f"The report is {out / 'report.md'}.", soft_wrap=True)
    if not result.finished:
        exit_stopped(out, f"Completed work is kept in {out}.")
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


def _save(pair: str, router: str | None, why: str) -> None:
    """Write the choice into the user's settings, and say what then counts."""
    from rstitch_local import paths
    from rstitch_local.catalog.catalog import user_sets_router
    from rstitch_local.catalog.tuned import save_tuned
    from rstitch_local.routing.spec import absolute_spec
    from rstitch_local.sanitize import one_line

    screen = make_console(stderr=True)
    if router is None:
        screen.print("Nothing was chosen, so nothing is saved.")
        return
    # A relative path would name another file, or none, where the settings are used.
    router = absolute_spec(router)
    path = save_tuned(pair, router, one_line(f"{why}, {datetime.now(UTC):%Y-%m-%d}", 120))
    screen.print(f"{router} is now the router of the pair {pair}, by {path}.", soft_wrap=True)
    if user_sets_router(pair):
        screen.print(
            f"But {paths.user_catalog()} has a tau or a router for that pair, which counts more: take it out there.",
            soft_wrap=True,
        )
