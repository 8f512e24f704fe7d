"""`rstitch solve`: solve a problem file and grade the answers.

Reading, solving and grading are in rstitch_local/problems/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.interrupts import exit_stopped, resumable
from rstitch_local.commands.jobs import make_job, warn_identical_samples
from rstitch_local.commands.options import (
    JsonOption,
    ModelOptions,
    ProblemOptions,
    ProblemsArgument,
    RouterOption,
    SamplingOptions,
)
from rstitch_local.commands.signature import with_option_groups

if TYPE_CHECKING:
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.runner import Outcome


@with_option_groups
def solve(
    file: ProblemsArgument,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Run folder, created or resumed; one per shard."),
    ],
    *,
    models: ModelOptions,
    router: RouterOption = None,
    problems: ProblemOptions,
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Solve a problem file and grade the answers; run the same command again to resume.

    Answers that ended in an error are retried. A folder with different settings is refused.
    """
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.costs.store import stored_latency
    from rstitch_local.problems.pair_source import sequences_for
    from rstitch_local.problems.progress import ConsoleProgress
    from rstitch_local.problems.runner import run_job
    from rstitch_local.routing.spec import usable_spec

    choice = models.choose()
    spec = usable_spec(choice.defaults.router if router is None else router)
    job = make_job(file, out, choice, spec, models=models, problems=problems, sampling=sampling)
    screen = make_console(stderr=True)
    warn_identical_samples(job, screen)
    latency: PairLatency | None = None

    def load(answers: int) -> Pair:
        nonlocal latency
        sequences = sequences_for(answers, models.parallel)
        pair = models.open_pair(choice, sequences=sequences, swaps=spec not in ("slm", "llm"))
        latency = stored_latency(pair)
        return pair

    with resumable(out) as interrupt:
        outcome = run_job(
            job, lambda answers: interrupt.while_open(load(answers)), ConsoleProgress(screen), interrupt.should_stop
        )
    if latency is not None:
        outcome.summary["llm_alone_seconds"] = latency.llm_alone_seconds(outcome.answers)
    _report(outcome, out, json_output)


def _report(outcome: Outcome, out: Path, json_output: bool) -> None:
    """Print the summary; if answers are missing, say how to resume and exit with code 130."""
    from rstitch_local.problems.progress import summary_text

    typer.echo(json.dumps(outcome.summary) if json_output else summary_text(outcome.summary))
    if not outcome.finished:
        exit_stopped(out, f"{outcome.done} of {outcome.total} answers are saved in {out}.")
