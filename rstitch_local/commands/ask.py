"""`rstitch ask`: one question, answered on the terminal as it is written.

Knows how an answer looks on a terminal and nothing of how it comes about.
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console, safe_json
from rstitch_local.commands.options import (
    ContextOption,
    GpuLayersOption,
    JsonOption,
    KvTypeOption,
    LlmOption,
    MaxTokensOption,
    MinPOption,
    PairOption,
    RouterOption,
    SeedOption,
    SlmOption,
    SystemOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, RStitchError
from rstitch_local.sanitize import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstitch_local.decoding.step import Step
    from rstitch_local.trace.record import Trace

_DEMO_ONLY = (
    "(By the demo pair, which solves short word problems and nothing else; `rstitch pull qwen2.5-coder` brings a pair "
    "for everything.)"
)


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    pair: PairOption = None,
    router: RouterOption = None,
    system: SystemOption = None,
    json_output: JsonOption = False,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    min_p: MinPOption = None,
    seed: SeedOption = 0,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
    context: ContextOption = None,
    kv_type: KvTypeOption = "f16",
) -> None:
    """Ask one question; what the LLM wrote is coloured and underlined."""
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.errors import UsageError
    from rstitch_local.routing.spec import usable_spec

    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise UsageError("No question", "The question is empty.")
    if router is not None:
        # Before the models are loaded: a typing error should not cost their loading time.
        usable_spec(router)
    choice = choose_pair(pair, slm, llm)
    own = choice.defaults.sampling
    sampling = choose_sampling(own, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    with open_pair(choice, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type) as loaded:
        run = loaded.ask(question, system=system, router=router, sampling=sampling, seed=seed, max_tokens=max_tokens)
        interrupted = False
        try:
            # Closed here and not by the garbage collector, so that the trace is complete after Ctrl-C.
            with closing(iter(run)) as steps:
                if json_output:
                    for _ in steps:
                        pass
                else:
                    _stream(steps)
        except KeyboardInterrupt:
            interrupted = True
        if json_output:
            typer.echo(safe_json(run.trace.to_dict()))
        else:
            _conclude(run.trace)
            if choice.name == "demo" and pair is None:
                make_console(stderr=True).print(_DEMO_ONLY, style="dim", soft_wrap=True)
        if interrupted:
            raise typer.Exit(INTERRUPTED_EXIT_CODE)


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
