"""`rstitch train-router`: learns, on a problem file, when asking the LLM pays.

Knows what the options mean, how a training looks on a terminal and how Ctrl-C ends it; the training is learning/.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.options import (
    PROBLEMS,
    ContextOption,
    FieldOption,
    GpuLayersOption,
    KvTypeOption,
    LimitOption,
    LlmOption,
    PairOption,
    ParallelOption,
    ProblemsArgument,
    PromptOption,
    SeedOption,
    SlmOption,
    ThreadsOption,
)
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rstitch_local.problems.reading import Problem

TRAINING = "Training"
_MOST_VALIDATION = 300


def train_router(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the router goes, a safetensors file.")],
    pair: PairOption = None,
    tau_ask: Annotated[
        float | None,
        typer.Option(
            "--tau-ask",
            metavar="T",
            min=0.0,
            max=1.0,
            help="The policy is asked where the SLM's entropy is above.",
            show_default="a fifth of the pair's tau",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates.", rich_help_panel=TRAINING)] = 100,
    group: Annotated[
        int, typer.Option("--group", min=2, help="Answers to each problem.", rich_help_panel=TRAINING)
    ] = 8,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Problems a step.", rich_help_panel=TRAINING)] = 32,
    latency_penalty: Annotated[
        str,
        typer.Option(
            "--lambda",
            metavar="L|auto",
            help="What a millisecond costs a right answer; auto: 0.3 for the LLM's mean latency.",
            rich_help_panel=TRAINING,
        ),
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    limit: LimitOption = None,
    field: FieldOption = None,
    prompt: PromptOption = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer.", rich_help_panel=PROBLEMS)
    ] = None,
    parallel: ParallelOption = None,
    seed: SeedOption = 0,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
    context: ContextOption = None,
    kv_type: KvTypeOption = "f16",
) -> None:
    """Train a router that decides by the SLM's hidden state whether asking the LLM pays (R-Stitch+).

    Needs a calibration (`rstitch calibrate`) and the extra `train`. Checkpoints, history and a plot lie in
    FILE.training; after Ctrl-C the same command with --resume goes on.
    """
    require_torch()
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.catalog.checksums import sha256_of
    from rstitch_local.commands.interrupts import Interrupt
    from rstitch_local.commands.loading import open_pair
    from rstitch_local.costs.store import load_calibration
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.errors import CancelledError
    from rstitch_local.learning.plots import draw_training
    from rstitch_local.learning.reward import AnswerChecker
    from rstitch_local.learning.rollouts import RolloutSampler
    from rstitch_local.learning.training import Training, TrainSettings
    from rstitch_local.plotting import has_matplotlib
    from rstitch_local.problems.prompts import prompt_of
    from rstitch_local.problems.reading import Fields, read_problems
    from rstitch_local.problems.selection import Selection
    from rstitch_local.routing.policy_file import write_policy

    found = read_problems(file, Fields.parse(field or []))
    train, validation = split(Selection(limit=limit).of(found.problems))
    chosen = choose_pair(pair, slm, llm)
    defaults = chosen.defaults
    settings = TrainSettings(
        steps=steps,
        group=group,
        batch=batch,
        latency_penalty=read_price(latency_penalty),
        tau_ask=defaults.tau / 5 if tau_ask is None else tau_ask,
        warm_tau=max(defaults.tau, tau_ask or 0.0),
        seed=seed,
    )
    screen = make_console(stderr=True)
    folder = out.with_name(out.name + ".training")
    interrupt = Interrupt()
    # A reward is what an answer costs that is written alone, however many are written at once here.
    with open_pair(chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type) as alone:
        latency = load_calibration(alone).latency
    with (
        open_pair(
            chosen, gpu_layers=gpu_layers, threads=threads, context=context, kv_type=kv_type, sequences=parallel
        ) as loaded,
        closing(AnswerChecker()) as judge,
        interrupt.recorded(),
        _Display(screen, steps) as display,
    ):
        workshop = RolloutSampler(
            loaded, latency, judge, max_tokens, interrupt.should_stop,
            prompt_of(defaults.prompt if prompt is None else prompt, defaults.prompt_suffix),
        )  # fmt: skip
        small = loaded.weights[Role.SLM]
        training = Training(workshop, train, validation, settings, sha256_of(small.path), small.n_embd, folder)
        try:
            policy = training.run(display.show, resume=resume)
        except CancelledError:
            how = f"with --resume goes on from {folder}" if training.has_checkpoint else "begins again"
            screen.print(f"Stopped. The same command {how}.", soft_wrap=True)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        finally:
            if has_matplotlib() and training.history and folder.exists():
                draw_training(training.history, folder / "training")
    write_policy(out, policy)
    about = policy.facts.training
    screen.print(
        f"{out} is the policy of step {about['step']}; validation: {about['validation']['accuracy']:.1%} right, "
        f"{about['validation']['latency_ms']:,.1f} ms by the cost model. Use it: --router learned:{out}",
        soft_wrap=True,
    )


def require_torch() -> None:
    """Raise UsageError, with the command that installs it, where torch is missing."""
    try:
        found = importlib.util.find_spec("torch") is not None
    except ValueError:  # somebody put None in its place
        found = False
    if not found:
        raise UsageError("No torch", "Training needs it.", "Install it: pip install 'rstitch-local[train]'")


def read_price(text: str) -> float | None:
    """Lambda as given; None for auto. Raises UsageError for anything that is no number of at least 0."""
    if text == "auto":
        return None
    try:
        latency_penalty = float(text)
    except ValueError:
        latency_penalty = -1.0
    if not 0 <= latency_penalty < float("inf"):
        raise UsageError("No such lambda", f"--lambda {text}: it is 'auto' or a number of at least 0.")
    return latency_penalty


def split(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Problems for training and for validation, by a coin of their ids: one in eight, 300 at most, validates.

    Those without a gold answer are in neither.
    """
    from rstitch_local.problems.tasks import seed_of

    graded = [problem for problem in problems if problem.gold is not None]
    validation = [problem for problem in graded if seed_of(0, problem.id, 0) % 8 == 0][:_MOST_VALIDATION]
    held = {problem.id for problem in validation}
    return [problem for problem in graded if problem.id not in held], validation


class _Display:
    """A table of the last steps on a terminal, a line for each of them anywhere else."""

    _ROWS = 12

    def __init__(self, screen: Console, steps: int) -> None:
        from rich.live import Live

        self._screen = screen
        self._steps = steps
        self._rows: list[Mapping[str, Any]] = []
        self._live = Live(console=screen, transient=True, auto_refresh=False) if screen.is_terminal else None

    def __enter__(self) -> _Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, record: Mapping[str, Any]) -> None:
        """Show one record of the training."""
        if self._live is None:
            self._screen.print(_line(record, self._steps), soft_wrap=True)
            return
        self._rows.append(record)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        names = ("step", "reward", "right, %", "LLM, %", "ms", "clipped, %", "dropped, %", "entropy")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for record in self._rows[-self._ROWS :]:
            figures = record.get("validation", record)
            if "reward" in figures:
                step = f"{record['step']}/{self._steps}" if figures is record else "validation"
                table.add_row(step, *(text for _, text in _cells(figures)))
        return table


def _cells(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that are shown, by name."""
    shown = (
        ("reward", "reward", 1, 3),
        ("right %", "accuracy", 100, 1),
        ("LLM %", "llm_share", 100, 1),
        ("ms", "latency_ms", 1, 1),
        ("clipped %", "clipped", 100, 1),
        ("dropped %", "dropped", 100, 0),
        ("entropy", "entropy", 1, 3),
    )
    return [(name, f"{figures[key] * unit:.{places}f}" if key in figures else "") for name, key, unit, places in shown]


def _line(record: Mapping[str, Any], steps: int) -> str:
    if "price" in record:
        return f"lambda is {record['price']:.3g} a millisecond; the warm start agrees in {record['imitated']:.1%}"
    figures = record.get("validation", record)
    place = f"step {record['step']}/{steps}" + (" validation" if figures is not record else "")
    return place + ": " + ", ".join(f"{name} {text}" for name, text in _cells(figures) if text)
