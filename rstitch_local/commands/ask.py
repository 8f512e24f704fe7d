"""`rstitch ask`: one question, answered on the terminal as it is written.

Knows how an answer looks on a terminal and nothing of how it comes about.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console, safe_text
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
from rstitch_local.errors import INTERRUPTED_EXIT_CODE

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Run
    from rstitch_local.engine.trace import Trace

# Cyan is told from the terminal's own colour by most colour-blind readers; the underline by all.
_STYLES = {"slm": "", "llm": "cyan underline"}


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
    from rstitch_local.decoding.routers import router_from_spec
    from rstitch_local.errors import UsageError

    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise UsageError("No question", "The question is empty.")
    if router is not None:
        # Before the models are loaded: a typing error should not cost their loading time.
        router_from_spec(router)
    with open_pair(pair, slm, llm, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type) as loaded:
        sampling = choose_sampling(loaded, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
        run = loaded.ask(question, system=system, router=router, sampling=sampling, seed=seed, max_tokens=max_tokens)
        try:
            if json_output:
                for _ in run:
                    pass
                typer.echo(json.dumps(run.trace.to_dict(), ensure_ascii=False))
            else:
                _stream(run)
        except KeyboardInterrupt:
            make_console(stderr=True).print("\nStopped. " + summary_line(run.trace))
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


def _stream(run: Run) -> None:
    screen = make_console()
    # A pipe gets the answer alone, as it is; only a terminal can be commanded by control characters.
    for step in run:
        text = safe_text(step.text)
        screen.print(text, style=_STYLES[step.role], end="", soft_wrap=True)
        screen.file.flush()
    screen.print()
    notes = make_console(stderr=not sys.stdout.isatty())
    if run.trace.stop == "length":
        notes.print("(cut off: the budget or the context is used up)", style="yellow")
    notes.print(summary_line(run.trace), style="dim", soft_wrap=True)


def summary_line(trace: Trace) -> str:
    """One line: tokens by model, swaps, catch-up tokens, tokens a second, seconds."""
    slm, llm = trace.tokens.values()
    return (
        f"SLM {slm} + LLM {llm} tokens ({trace.llm_share:.0%} LLM) · {trace.swaps_up} up, {trace.swaps_down} down · "
        f"{trace.catch_up_tokens} caught up · {trace.tokens_per_second:.1f} tok/s · {trace.wall_ms / 1e3:.1f} s"
    )
