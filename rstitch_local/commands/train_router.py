"""`rstitch train-router`: train a router on a problem file (R-Stitch+).

The training itself is rstitch_local/learning/.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import echo, make_console
from rstitch_local.commands.jobs import read_selected
from rstitch_local.commands.options import (
    PROBLEMS,
    ModelOptions,
    ProblemOptions,
    ProblemsArgument,
    SamplingOptions,
)
from rstitch_local.commands.signature import Only, with_option_groups
from rstitch_local.commands.training_display import TrainingDisplay
from rstitch_local.errors import INTERRUPTED_EXIT_CODE, UsageError
from rstitch_local.files import exists
from rstitch_local.interrupts import Interrupt

if TYPE_CHECKING:
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.engine.choice import PairChoice, PairDefaults
    from rstitch_local.learning.settings import TrainSettings
    from rstitch_local.learning.training import Training
    from rstitch_local.problems.reading import Problem
    from rstitch_local.routing.policy import Policy

TRAINING = "Training"
_MAX_VALIDATION = 300


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Hyperparameters of the training."""

    tau_ask: Annotated[
        float | None,
        typer.Option(
            "--tau-ask",
            metavar="T",
            min=0.0,
            max=1.0,
            help="Entropy of the SLM above which the policy is queried.",
            show_default="1/5 of the pair's tau",
            rich_help_panel=TRAINING,
        ),
    ] = None
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps.", rich_help_panel=TRAINING)] = 100
    group: Annotated[int, typer.Option("--group", min=2, help="Answers per problem.", rich_help_panel=TRAINING)] = 8
    batch: Annotated[int, typer.Option("--batch", min=1, help="Problems per step.", rich_help_panel=TRAINING)] = 32
    latency_penalty: Annotated[
        str,
        typer.Option(
            "--lambda",
            metavar="L|auto",
            help="Latency penalty per millisecond; auto: 0.3 for the mean latency of the LLM alone.",
            rich_help_panel=TRAINING,
        ),
    ] = "auto"

    def settings(self, defaults: PairDefaults, seed: int) -> TrainSettings:
        """Return the settings of the training; raise UsageError if --lambda is invalid."""
        from rstitch_local.learning.settings import TrainSettings

        return TrainSettings(
            steps=self.steps,
            group=self.group,
            batch=self.batch,
            latency_penalty=parse_latency_penalty(self.latency_penalty),
            tau_ask=defaults.tau / 5 if self.tau_ask is None else self.tau_ask,
            warm_tau=max(defaults.tau, self.tau_ask or 0.0),
            seed=seed,
        )


@with_option_groups
def train_router(
    file: ProblemsArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Router file to write (safetensors).")],
    *,
    models: ModelOptions,
    options: TrainingOptions,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
    problems: Annotated[ProblemOptions, Only("limit", "field", "prompt")],
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Maximum tokens per answer.", rich_help_panel=PROBLEMS),
    ] = None,
    sampling: Annotated[SamplingOptions, Only("seed")],
) -> None:
    """Train a router that reads the SLM's hidden state to decide between SLM and LLM (R-Stitch+).

    Requires a calibration (`rstitch calibrate`) and the extra `train`. Checkpoints, history and a plot are in
    FILE.training; run the same command with --resume to continue.
    """
    require_torch()
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.catalog.checksums import sha256_of
    from rstitch_local.decoding.roles import Role
    from rstitch_local.learning.reward import AnswerChecker
    from rstitch_local.learning.rollouts import RolloutSampler
    from rstitch_local.learning.training import Training
    from rstitch_local.routing.policy_file import write_policy

    _, selected = read_selected(file, problems)
    training_set, validation_set = split_problems(selected)
    choice = models.choose()
    settings = options.settings(choice.defaults, sampling.seed)
    prompt = problems.prompt_for(choice.defaults)
    interrupt = Interrupt()
    latency = _latency_of(models, choice)
    with (
        models.open_pair(choice, sequences=models.parallel) as pair,
        closing(AnswerChecker()) as checker,
        interrupt.recorded(),
        TrainingDisplay(make_console(stderr=True), options.steps) as display,
    ):
        sampler = RolloutSampler(pair, latency, checker, max_tokens, interrupt.should_stop, prompt)
        slm = pair.weights[Role.SLM]
        folder = out.with_name(out.name + ".training")
        training = Training(sampler, training_set, validation_set, settings, sha256_of(slm.path), slm.n_embd, folder)
        policy = _trained(training, display, resume)
    write_policy(out, policy)
    _conclude(out, policy)


def _latency_of(models: ModelOptions, choice: PairChoice) -> PairLatency:
    """Return the calibrated costs of one answer decoded alone; the reward does not depend on --parallel."""
    from rstitch_local.costs.store import load_calibration

    with models.open_pair(choice) as pair:
        return load_calibration(pair).latency


def _trained(training: Training, display: TrainingDisplay, resume: bool) -> Policy:
    """Run the training and draw its history; after Ctrl-C say how to resume and exit with code 130."""
    from rstitch_local.errors import CancelledError
    from rstitch_local.learning.plots import draw_training
    from rstitch_local.plotting import has_library

    try:
        return training.run(display.show, resume=resume)
    except CancelledError:
        message = "No checkpoint was written yet: run the same command to start again."
        if training.has_checkpoint:
            message = f"Run the same command with --resume to continue from {training.folder}."
        echo(f"Stopped. {message}", err=True)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    finally:
        if has_library("matplotlib") and training.history and exists(training.folder):
            draw_training(training.history, training.folder / "training")


def _conclude(out: Path, policy: Policy) -> None:
    record = policy.metadata.training
    validation = record["validation"]
    echo(
        f"{out} is the policy of step {record['step']}: {validation['accuracy']:.1%} of the validation problems right, "
        f"{validation['latency_ms']:,.1f} ms each by the cost model. Use it with --router learned:{out}",
        err=True,
    )


def require_torch() -> None:
    """Raise UsageError if torch is not installed."""
    try:
        installed = importlib.util.find_spec("torch") is not None
    except ValueError:  # sys.modules has None for it
        installed = False
    if not installed:
        raise UsageError("Missing torch", "Training requires torch.", "Run: pip install 'rstitch-local[train]'")


def parse_latency_penalty(text: str) -> float | None:
    """Return --lambda as a number, None for auto; raise UsageError if it is neither."""
    if text == "auto":
        return None
    try:
        latency_penalty = float(text)
    except ValueError:
        latency_penalty = -1.0
    if not 0 <= latency_penalty < float("inf"):
        raise UsageError("Invalid lambda", f"`--lambda {text}`: must be 'auto' or a number of at least 0.")
    return latency_penalty


def split_problems(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Split problems into a training and a validation set by a hash of their ids.

    One in eight is for validation, at most 300. Problems without a gold answer are in neither set.
    """
    from rstitch_local.problems.tasks import seed_of

    graded = [problem for problem in problems if problem.gold is not None]
    validation = [problem for problem in graded if seed_of(0, problem.id, 0) % 8 == 0][:_MAX_VALIDATION]
    validation_ids = {problem.id for problem in validation}
    return [problem for problem in graded if problem.id not in validation_ids], validation
