"""`rstitch ask`: answer one question, streamed to the terminal."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console, safe_json
from rstitch_local.commands.options import JsonOption, ModelOptions, RouterOption, SamplingOptions
from rstitch_local.commands.signature import Without, with_option_groups
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, RStitchError, UsageError
from rstitch_local.sanitize import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstitch_local.decoding.step import Step
    from rstitch_local.engine.run import Run
    from rstitch_local.trace.record import Trace

_DEMO_ONLY = (
    "(Answered by the demo pair, which solves short word problems only. `rstitch pull qwen2.5-coder` downloads a "
    "general pair.)"
)


@with_option_groups
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin.")],
    *,
    models: Annotated[ModelOptions, Without("parallel")],
    router: RouterOption = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Answer one question; the text of the LLM is colored and underlined."""
    from rstitch_local.routing.spec import usable_spec

    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise UsageError("No question", "The question is empty.")
    if router is not None:
        # Reject an invalid spec before the models are loaded.
        usable_spec(router)
    choice = models.choose()
    with models.open_pair(choice) as pair:
        run = pair.ask(
            question,
            system=system,
            router=router,
            sampling=sampling.sampling(choice.defaults),
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop_strings,
        )
        interrupted = _finish(run, json_output)
        if json_output:
            typer.echo(safe_json(run.trace.to_dict()))
        else:
            _conclude(run.trace)
            if choice.name == "demo" and models.pair is None:
                make_console(stderr=True).print(_DEMO_ONLY, style="dim", soft_wrap=True)
        if interrupted:
            raise typer.Exit(INTERRUPTED_EXIT_CODE)


def _finish(run: Run, json_output: bool) -> bool:
    """Generate the answer, streamed unless it is printed as JSON; return whether Ctrl-C stopped it."""
    try:
        # Close the iterator here, so that the trace is complete after Ctrl-C.
        with closing(iter(run)) as steps:
            if json_output:
                for _ in steps:
                    pass
            else:
                _stream(steps)
    except KeyboardInterrupt:
        return True
    return False


def _stream(steps: Iterable[Step]) -> None:
    """Print the answer as it is generated; always end with a newline."""
    from rstitch_local.trace.terminal import ROLE_STYLES

    screen = make_console()
    try:
        for step in steps:
            # Pipes get safe text too: they often end at a terminal (`| less -R`).
            text = safe_text(step.text)
            if screen.is_terminal:
                screen.print(text, style=ROLE_STYLES[step.role], end="", soft_wrap=True)
            else:
                # Not through rich, which turns tabs into spaces.
                screen.file.write(text)
            screen.file.flush()
    except (RStitchError, KeyboardInterrupt):
        screen.print()
        raise
    screen.print()


def _conclude(trace: Trace) -> None:
    from rstitch_local.trace.labels import summary_line

    notes = make_console(stderr=not sys.stdout.isatty())
    if trace.stop == "length":
        notes.print("(cut off: --max-tokens or the context is exhausted)", style="yellow")
    stopped = "Stopped. " if trace.stop == "interrupted" else ""
    notes.print(stopped + summary_line(trace), style="dim", soft_wrap=True)
