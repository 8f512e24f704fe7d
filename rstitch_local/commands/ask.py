"""`rstitch ask`: one question, answered on the terminal as it is written.

Knows how an answer looks on a terminal and nothing of how it comes about.
"""

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
    "(By the demo pair, which solves short word problems and nothing else; `rstitch pull qwen2.5-coder` brings a pair "
    "for everything.)"
)


@with_option_groups
def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    *,
    models: Annotated[ModelOptions, Without("parallel")],
    router: RouterOption = None,
    system: Annotated[str | None, typer.Option("--system", help="A system prompt.")] = None,
    json_output: JsonOption = False,
    sampling: SamplingOptions,
) -> None:
    """Ask one question; what the LLM wrote is coloured and underlined."""
    from rstitch_local.routing.spec import usable_spec

    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise UsageError("No question", "The question is empty.")
    if router is not None:
        # Before the models are loaded: a typing error should not cost their loading time.
        usable_spec(router)
    choice = models.choose()
    drawn = sampling.sampling(choice.defaults)
    with models.open_pair(choice) as pair:
        run = pair.ask(
            question,
            system=system,
            router=router,
            sampling=drawn,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
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
    """Decode the answer, shown unless JSON is asked for; return whether Ctrl-C stopped it."""
    try:
        # Closed here and not by the garbage collector, so that the trace is complete after Ctrl-C.
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
    """Write the answer as it comes, ending with a line end whatever happens."""
    from rstitch_local.trace.terminal import ROLE_STYLES

    screen = make_console()
    try:
        for step in steps:
            # A pipe often ends at a terminal after all (`| less -R`), so it gets safe text as well.
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
        notes.print("(cut off: the budget or the context is used up)", style="yellow")
    stopped = "Stopped. " if trace.stop == "interrupted" else ""
    notes.print(stopped + summary_line(trace), style="dim", soft_wrap=True)
