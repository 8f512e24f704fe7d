"""`rstitch tune`: the router that fits a wish, chosen on one part of the rows and measured on the other.

Knows what the options mean and where the choice is saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.interrupts import exit_stopped, resumable
from rstitch_local.commands.jobs import checked_specs, job_of
from rstitch_local.commands.options import (
    ContextOption,
    FieldOption,
    GpuLayersOption,
    JsonOption,
    KvTypeOption,
    LimitOption,
    LlmOption,
    MaxTokensOption,
    MinPOption,
    PairOption,
    ProblemsArgument,
    PromptOption,
    SeedOption,
    SlmOption,
    StrictOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from rstitch_local.commands.results import print_comparison
from rstitch_local.errors import UsageError

if TYPE_CHECKING:
    from rstitch_local.engine.pair import Pair
    from rstitch_local.study.tuning import Constraint

WISH = "What to keep to (one of them)"
_DEFAULT_POINTS = 1.0


def tune(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the tuning; made, or gone on with.")],
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            metavar="POINTS",
            min=0.0,
            max=100.0,
            help="The fastest that is at most so many points less right than the LLM alone.",
            show_default="1",
            rich_help_panel=WISH,
        ),
    ] = None,
    max_llm_share: Annotated[
        float | None,
        typer.Option(
            "--max-llm-share",
            metavar="S",
            min=0.0,
            max=1.0,
            help="The most right of those whose LLM writes at most this share of the tokens, 0 to 1.",
            rich_help_panel=WISH,
        ),
    ] = None,
    target_ms: Annotated[
        float | None,
        typer.Option(
            "--target-ms",
            metavar="MS",
            min=0.0,
            help="The most right of those that take at most so many milliseconds a problem, on average.",
            rich_help_panel=WISH,
        ),
    ] = None,
    router: Annotated[
        list[str] | None,
        typer.Option("--router", metavar="SPEC", help="A candidate; may be given many times.", show_default="a grid"),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Make the choice the pair's own router, for ask, solve and chat.")
    ] = False,
    pair: PairOption = None,
    limit: LimitOption = None,
    field: FieldOption = None,
    prompt: PromptOption = None,
    strict: StrictOption = False,
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
    """Choose a router on one part of a problem file and say how it does on the other part.

    Which part a problem belongs to depends on its id alone. Every answer is kept as soon as it is there; the same
    command again goes on where it stopped.
    """
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.selection import Selection
    from rstitch_local.study import tuning
    from rstitch_local.study.bench import memory_footprints
    from rstitch_local.study.tuning_report import tuning_findings, tuning_record, write_tuning

    wish = _wish(max_loss, max_llm_share, target_ms)
    fields, selection = Fields.parse(field or []), Selection.parse(None, limit, None)
    if save and slm is not None:
        raise UsageError(
            "Nothing to save it for",
            "A choice is saved for a pair of the catalogue, not for two files.",
            "Put the files into your models.toml and name that pair (--pair), or leave --save out.",
        )
    specs = checked_specs(router or tuning.CANDIDATES)
    chosen = choose_pair(pair, slm, llm)
    own = chosen.defaults.sampling
    sampling = choose_sampling(own, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    screen = make_console(stderr=True)
    footprints = memory_footprints({Role.SLM: chosen.slm, Role.LLM: chosen.llm}, kv_type)
    job = job_of(
        file, out, chosen, sampling, router="llm", prompt=prompt, max_tokens=max_tokens, context=context,
        kv_type=kv_type, fields=fields, selection=selection, samples=1, seed=seed, strict=strict,
    )  # fmt: skip

    with ExitStack() as stack:
        opened: list[Pair] = []

        @contextmanager
        def load() -> Iterator[Pair]:
            # Several benches make one tuning, and the models are loaded once for all.
            if not opened:
                opened.append(
                    stack.enter_context(
                        open_pair(chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type)
                    )
                )
            yield opened[0]

        with resumable(out) as interrupt:
            found = tuning.tune(
                job, specs, wish, lambda: interrupt.while_open(load()), screen, interrupt.should_stop, footprints
            )
    words = tuning_findings(found, wish)
    write_tuning(out, words, found, wish)
    if json_output:
        typer.echo(json.dumps(tuning_record(words, found, wish)))
    elif found.finished:
        print_comparison(found.reported or found.tested, words)
        screen.print(f"The report is {out / 'report.md'}.", soft_wrap=True)
    if not found.finished:
        exit_stopped(out, "What was done is kept.")
    if save:
        _save(chosen.name, found.chosen, f"{wish}; on {file.name}")


def _wish(max_loss: float | None, max_llm_share: float | None, target_ms: float | None) -> Constraint:
    """What the options ask for; raises UsageError when they ask for two things."""
    from rstitch_local.study.tuning import Constraint

    given = [
        wish
        for wish in (
            max_loss is not None and Constraint("loss", max_loss / 100),
            max_llm_share is not None and Constraint("share", max_llm_share),
            target_ms is not None and Constraint("time", target_ms),
        )
        if wish
    ]
    if len(given) > 1:
        raise UsageError(
            "Two wishes", "--max-loss, --max-llm-share and --target-ms exclude each other.", "Give one of them."
        )
    return given[0] if given else Constraint("loss", _DEFAULT_POINTS / 100)


def _save(pair: str, router: str | None, why: str) -> None:
    """Write the choice into the user's settings, and say what then counts."""
    from rstitch_local import paths
    from rstitch_local.catalog.catalogue import user_says_router
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
    if user_says_router(pair):
        screen.print(
            f"But {paths.user_catalogue()} has a tau or a router for that pair, which counts more: take it out there.",
            soft_wrap=True,
        )
