"""`rstitch grade`: grade the answers of a run folder again. No model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rstitch_local.commands.console import echo, make_console, progress_bars
from rstitch_local.commands.options import FieldOption, JsonOption
from rstitch_local.errors import INTERRUPTED_EXIT_CODE


def grade(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder of `rstitch solve`.")],
    field: FieldOption = None,
    gold: Annotated[
        Path | None,
        typer.Option(
            "--gold",
            metavar="FILE",
            help="File with gold answers by id, which replace those of the run.",
            show_default="with --field: the problem file",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Grade a run again with the grader of this version; no model is loaded.

    With --field or --gold, with other gold answers: those of the field answer=NAME of the problem file, or of FILE.
    """
    # Imported here to keep `rstitch --help` fast.
    from rich.progress import MofNCompleteColumn

    from rstitch_local.problems.grading import Grader, grader_identity
    from rstitch_local.problems.metrics import summary
    from rstitch_local.problems.progress import print_bad_rows, summary_text
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.regrading import gold_for, regrade
    from rstitch_local.problems.run_folder import RunFolder

    screen = make_console(stderr=True)
    bars = progress_bars(screen, MofNCompleteColumn())
    fields = Fields.parse(field or [])
    with RunFolder(folder, create=False) as run:
        before = run.header()
        if run.notice:
            echo(run.notice, err=True)
        gold_file = gold_for(run, fields, gold) if field or gold else None
        if gold_file is not None:
            print_bad_rows(screen, gold_file.path.name, gold_file.unit, gold_file.bad_rows)
        try:
            with Grader() as grader, bars:
                bar = bars.add_task("Grading", total=run.line_count)
                changed = regrade(run, grader, lambda line: bars.update(bar, completed=line - 1), gold_file)
        except KeyboardInterrupt:
            screen.print("Stopped. The verdicts are unchanged.")
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        metrics = {**summary(run.answers), "changed_verdicts": changed}
    if json_output:
        typer.echo(json.dumps(metrics))
        return
    typer.echo(summary_text(metrics))
    typer.echo(f"{changed} verdicts changed" if changed != 1 else "1 verdict changed")
    if gold_file is not None:
        typer.echo(f"{metrics['graded']} of {metrics['samples']} answers have a gold answer")
    previous = before["settings"].get("grader") if before else None
    if previous != grader_identity():
        echo(f"Previous grader: {_name_of(previous)}; current grader: {_name_of(grader_identity())}")


def _name_of(identity: object) -> str:
    from rstitch_local.sanitize import one_line

    return one_line(" ".join(map(str, identity.values()))) if isinstance(identity, dict) else "unknown"
