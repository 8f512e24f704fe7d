"""`rstitch solve`: a problem file in, a folder of graded answers out.

Knows what the options mean and how Ctrl-C ends a run; reading, solving and grading are problems/.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

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
    ParallelOption,
    ProblemsArgument,
    PromptOption,
    RouterOption,
    SamplesOption,
    SeedOption,
    SlmOption,
    StrictOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
)
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, ModelError

if TYPE_CHECKING:
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.runner import Job, LoadedPair, Outcome


def solve(
    file: ProblemsArgument,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="The run folder; made, or gone on with. One a shard."),
    ],
    pair: PairOption = None,
    router: RouterOption = None,
    limit: LimitOption = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="A,B", help="Only these.", rich_help_panel=PROBLEMS)
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only part I of N, each part with a DIR of its own.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None,
    samples: SamplesOption = 1,
    field: FieldOption = None,
    prompt: PromptOption = None,
    parallel: ParallelOption = None,
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
    """Solve a problem file and grade the answers; the same command again goes on where it stopped.

    An answer that ended in an error is tried again. A folder made with other settings is refused.
    """
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.commands.loading import choose_sampling, open_pair
    from rstitch_local.costs.store import stored_latency
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.engine.machine import AUTO_SEQUENCES
    from rstitch_local.problems.prompts import prompt_of
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.runner import Job
    from rstitch_local.problems.selection import Selection
    from rstitch_local.problems.solve import Settings
    from rstitch_local.routing.spec import usable_spec

    fields, selection = Fields.parse(field or []), Selection.parse(ids, limit, shard)
    chosen = choose_pair(pair, slm, llm)
    defaults = chosen.defaults
    # Before anything is read or written: a typing error should cost nothing.
    spec = usable_spec(defaults.router if router is None else router)
    sampling = choose_sampling(defaults.sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    screen = make_console(stderr=True)
    if samples > 1 and sampling.temperature == 0:
        screen.print(f"At temperature 0 all {samples} answers to a problem are the same.")
    job = Job(
        file=file,
        out=out,
        settings=Settings(
            spec,
            sampling,
            prompt_of(defaults.prompt if prompt is None else prompt, defaults.prompt_suffix),
            max_tokens,
        ),
        model_settings={**sha256_of_pair(chosen), "context": context or defaults.context, "kv_type": kv_type},
        pair_name=chosen.name,
        fields=fields,
        selection=selection,
        samples=samples,
        seed=seed,
        strict=strict,
    )

    latency: PairLatency | None = None

    def load(answers: int) -> Pair:
        nonlocal latency
        opened = open_pair(
            chosen,
            gpu_layers=gpu_layers,
            threads=threads,
            context=context,
            kv_type=kv_type,
            # Slots that nobody would use only take memory.
            sequences=parallel if answers >= (parallel or AUTO_SEQUENCES) else answers,
            swaps=spec not in ("slm", "llm"),
        )
        latency = stored_latency(opened)
        return opened

    outcome = _run_until_stopped(job, load)
    if latency is not None:
        outcome.summary["llm_alone_seconds"] = latency.llm_alone_seconds(outcome.answers)
    report(outcome, out, json_output)


def report(outcome: Outcome, out: Path, json_output: bool) -> None:
    """Print the summary and, when something is left to do, say how to go on and end with exit code 130."""
    from rstitch_local.problems.progress import summary_text

    typer.echo(json.dumps(outcome.summary) if json_output else summary_text(outcome.summary))
    if not outcome.finished:
        say_how_to_go_on(out, f"{outcome.done} of {outcome.total} answers are kept in {out}.")


def say_how_to_go_on(out: Path, kept: str) -> None:
    """Say that the run was stopped and how it goes on, and end with exit code 130."""
    screen = make_console(stderr=True)
    screen.print(f"Stopped. {kept} The same command, with --out {out}, goes on from there.", soft_wrap=True)
    raise typer.Exit(INTERRUPTED_EXIT_CODE)


def sha256_of_pair(choice: PairChoice) -> dict[str, str]:
    """The sha256 of both files; raises ModelError when one cannot be read."""
    from rstitch_local.catalog.checksums import sha256_of

    found = {}
    for role, path in (("slm", choice.slm), ("llm", choice.llm)):
        try:
            if not path.is_file():
                # A pipe or a device would be read for ever.
                raise ModelError("No such model file", f"{path} is not a file.")
            found[f"{role}_sha256"] = sha256_of(path)
        except OSError as error:
            raise ModelError("No such model file", f"{path} cannot be read: {error.strerror}.") from error
    return found


def _run_until_stopped(job: Job, load: Callable[[int], AbstractContextManager[LoadedPair]]) -> Outcome:
    """Run the job. The first Ctrl-C ends it after the tokens being written, a second one at once."""
    from rstitch_local.problems.runner import run_job

    stopped = threading.Event()

    @contextmanager
    def load_then_listen(answers: int) -> Iterator[LoadedPair]:
        # While models are being loaded nothing is lost by ending at once.
        with load(answers) as pair, ctrl_c_sets(stopped):
            yield pair

    try:
        return run_job(job, load_then_listen, make_console(stderr=True), stopped.is_set)
    except KeyboardInterrupt:
        say_how_to_go_on(job.out, "What was done is kept.")
        raise


@contextmanager
def ctrl_c_sets(stopped: threading.Event) -> Iterator[None]:
    """While it is open the first Ctrl-C sets the event, and a second one ends the program at once."""

    def note(_number: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        # A shell that starts a job in the background has it ignore the Ctrl-C meant for another.
        signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
