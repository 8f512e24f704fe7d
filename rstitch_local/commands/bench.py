"""`rstitch bench`: several routers on the same problems, and a report of what each costs and brings.

Knows what the options mean, how Ctrl-C ends a bench, and how its table looks on a terminal.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.options import (
    PROBLEMS,
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
    SamplesOption,
    SeedOption,
    SlmOption,
    StrictOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from rstitch_local.commands.solve import ctrl_c_sets, say_how_to_go_on, sha256_of_pair

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.table import Table

    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.runner import Job, LoadedPair
    from rstitch_local.study.figures import RouterFigures


def bench(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the bench; made, or gone on with.")],
    router: Annotated[
        list[str] | None,
        typer.Option(
            "--router",
            metavar="SPEC",
            help="A router to compare with the LLM alone; may be given many times.",
            show_default="slm and the pair's own",
        ),
    ] = None,
    pair: PairOption = None,
    limit: LimitOption = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="A,B", help="Only these.", rich_help_panel=PROBLEMS)
    ] = None,
    samples: SamplesOption = 1,
    field: FieldOption = None,
    prompt: PromptOption = None,
    strict: StrictOption = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the figures as well, as PNG and SVG.")] = False,
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
    """Solve the same problems with several routers in turn and say which one wins, by how much, and why.

    Every answer is kept as soon as it is there; the same command again goes on where it stopped, and one with more
    routers adds them. The report is DIR/report.md, its figures are in DIR/figures.csv and DIR/figures.json.
    """
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.plotting import require_matplotlib
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.selection import Selection
    from rstitch_local.study import plots
    from rstitch_local.study.bench import compared, footprints_of, run_bench
    from rstitch_local.study.report import facts_of, json_text, markdown, write_report
    from rstitch_local.study.verdict import plain_words

    fields, selection = Fields.parse(field or []), Selection.parse(ids, limit, None)
    # Before anything is read or loaded: a typing error, or a missing library, should cost nothing.
    specs = checked_specs(router or [])
    if plot:
        require_matplotlib()
    chosen = choose_pair(pair, slm, llm)
    own = chosen.defaults.sampling
    sampling = choose_sampling(own, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    screen = make_console(stderr=True)
    if samples > 1 and sampling.temperature == 0:
        screen.print(f"At temperature 0 all {samples} answers to a problem are the same.")
    footprints = footprints_of({Role.SLM: chosen.slm, Role.LLM: chosen.llm}, kv_type)
    job = job_of(
        file, out, chosen, sampling, prompt=prompt, max_tokens=max_tokens, context=context, kv_type=kv_type,
        fields=fields, selection=selection, samples=samples, seed=seed, strict=strict,
    )  # fmt: skip

    def load() -> Pair:
        return open_pair(chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type)

    with stoppable(out, load) as (load_then_listen, stop):
        outcome = run_bench(
            job, specs or checked_specs(["slm", chosen.defaults.router]), load_then_listen, screen, stop
        )
    figures = compared(outcome, footprints, seed)
    if figures:
        words = plain_words(figures, outcome.rows, outcome.split)
        drawn = plots.draw(figures, out) if plot else []
        pictures = [path.name for path in drawn if path.suffix == ".svg"]
        facts = facts_of(outcome)
        record = {"plain_words": words, "measured": facts, "split_problems": outcome.split}
        write_report(out, markdown("Bench", words, facts, figures, pictures), figures, record)
        if json_output:
            typer.echo(json_text(figures, record), nl=False)
        else:
            show(figures, words)
            screen.print(f"The report is {out / 'report.md'}.", soft_wrap=True)
    elif json_output:
        typer.echo(json.dumps({"routers": []}))
    if not outcome.finished:
        say_how_to_go_on(out, f"{outcome.done} of {outcome.total} answers are kept in {out}.")


def checked_specs(specs: Sequence[str]) -> list[str]:
    """The specs in one spelling, each once; raises UsageError for the first that names no router."""
    from rstitch_local.routing.spec import usable_spec

    return list(dict.fromkeys(usable_spec(spec) for spec in specs))


def job_of(
    file: Path,
    out: Path,
    chosen: PairChoice,
    sampling: Sampling,
    *,
    prompt: str | None,
    max_tokens: int | None,
    context: int | None,
    kv_type: str,
    **more: Any,
) -> Job:
    """What `solve` would be asked to do, for any router; `more` goes into the Job as it is."""
    from rstitch_local.problems.prompts import prompt_of
    from rstitch_local.problems.runner import Job
    from rstitch_local.problems.solve import Settings

    defaults = chosen.defaults
    text = prompt_of(defaults.prompt if prompt is None else prompt, defaults.prompt_suffix)
    return Job(
        file=file,
        out=out,
        settings=Settings("llm", sampling, text, max_tokens),
        model_settings={**sha256_of_pair(chosen), "context": context or defaults.context, "kv_type": kv_type},
        pair_name=chosen.name,
        **more,
    )


@contextmanager
def stoppable(
    out: Path, load: Callable[[], AbstractContextManager[LoadedPair]]
) -> Iterator[tuple[Callable[[], AbstractContextManager[LoadedPair]], Callable[[], bool]]]:
    """Ctrl-C for what goes on between: the first one ends it after the token being written, a second one at once.

    Gives the loader to use, and whether to stop. Before the models are loaded nothing is lost by ending at once.
    """
    stopped = threading.Event()

    @contextmanager
    def load_then_listen() -> Iterator[LoadedPair]:
        with load() as pair, ctrl_c_sets(stopped):
            yield pair

    try:
        yield load_then_listen, stopped.is_set
    except KeyboardInterrupt:
        say_how_to_go_on(out, "What was done is kept.")


def show(figures: Sequence[RouterFigures], words: Sequence[str]) -> None:
    """Print the plain words and the table."""
    from rstitch_local.sanitize import safe_text

    screen = make_console()
    for paragraph in words:
        screen.print(safe_text(paragraph))
    screen.print()
    screen.print(_table(figures))


def _table(figures: Sequence[RouterFigures]) -> Table:
    from rich.table import Table

    from rstitch_local.study import report

    table = Table("router", box=None, pad_edge=False)
    for name in ("right, %", "vs LLM", "s each", "speed-up", "LLM", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for own in figures:
        right = report.NONE if own.accuracy is None else f"{own.accuracy * 100:.3g}"
        if own.interval is not None:
            right += f" ({own.interval[0] * 100:.0f}-{own.interval[1] * 100:.0f})"
        speed = report.NONE if own.speed_up is None else f"{own.speed_up:.3g}x"
        if own.speed_up_interval is not None:
            speed += f" ({own.speed_up_interval[0]:.3g}-{own.speed_up_interval[1]:.3g})"
        table.add_row(
            own.router,
            right,
            report.NONE if own.p is None else f"+{own.better} -{own.worse}",
            report.number(own.seconds),
            speed,
            report.NONE if own.llm_share is None else f"{own.llm_share:.0%}",
            report.number(own.tokens),
        )
    return table
