"""`rstitch grade`: grade the answers of a run folder again. No model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rstitch_local.commands.console import make_console, progress_bars
from rstitch_local.commands.options import JsonOption
from rstitch_local.errors import INTERRUPTED_EXIT_CODE


def grade(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder of `rstitch solve`.")],
    json_output: JsonOption = False,
) -> None:
    """Grade a run again with the grader of this version; no model is loaded."""
    # Imported here to keep `rstitch --help` fast.
    from rich.progress import MofNCompleteColumn

    from rstitch_local.problems.answer_writer import regrade
    from rstitch_local.problems.grading import Grader, grader_identity
    from rstitch_local.problems.metrics import summary
    from rstitch_local.problems.progress import summary_text
    from rstitch_local.problems.run_folder import RunFolder

    screen = make_console(stderr=True)
    bars = progress_bars(screen, MofNCompleteColumn())
    with RunFolder(folder, create=False) as run:
        before = run.header()
        if run.notice:
            screen.print(run.notice, soft_wrap=True)
        try:
            with Grader() as grader, bars:
                bar = bars.add_task("Grading", total=run.line_count)
                changed = regrade(run, grader, lambda line: bars.update(bar, completed=line - 1))
        except KeyboardInterrupt:
            screen.print("Stopped. The verdicts are unchanged.")
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        run.change_setting("grader", grader_identity())
        metrics = {**summary(run.answers), "changed_verdicts": changed}
    if json_output:
        typer.echo(json.dumps(metrics))
        return
    typer.echo(summary_text(metrics))
    typer.echo(f"{changed} verdicts changed" if changed != 1 else "1 verdict changed")
    previous = before["settings"].get("grader") if before else None
    if previous != grader_identity():
        typer.echo(f"Previous grader: {_name_of(previous)}; current grader: {_name_of(grader_identity())}")


def _name_of(identity: object) -> str:
    from rstitch_local.sanitize import one_line

    return one_line(" ".join(map(str, identity.values()))) if isinstance(identity, dict) else "unknown"
