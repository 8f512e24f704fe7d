"""From the options of a command to a loaded pair, with a loading bar on stderr.

Knows what the options mean for loading; nothing of what the pair is wanted for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rstitch_local.commands.console import make_console
from rstitch_local.errors import UsageError

if TYPE_CHECKING:
    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.engine.pair import LoadOptions, Pair


def open_pair(
    pair: str | None,
    slm: Path | None,
    llm: Path | None,
    *,
    gpu_layers: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    kv_type: str = "f16",
) -> Pair:
    """Load the pair the options name.

    Raises:
        UsageError: options that contradict each other or mean nothing.
        ModelError: see `load_pair`.
    """
    if (slm is None) != (llm is None) or (pair is not None and slm is not None):
        raise UsageError("Which pair?", "Give --pair NAME, or both --slm PATH and --llm PATH.")
    options = _load_options(gpu_layers, threads, context, kv_type)
    from rich.progress import BarColumn, Progress, TextColumn

    from rstitch_local.decoding.routers import Role
    from rstitch_local.engine.pair import load_pair

    screen = make_console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), console=screen, transient=True, disable=not screen.is_terminal
    ) as bars:
        tasks = {role: bars.add_task(f"Loading {role.name}", total=1.0) for role in Role}

        def report(role: Role, share: float) -> bool:
            bars.update(tasks[role], completed=share)
            return True

        return load_pair(pair, slm=slm, llm=llm, options=options, progress=report)


def _load_options(gpu_layers: str, threads: int | None, context: int | None, kv_type: str) -> LoadOptions:
    from rstitch_local.engine.pair import LoadOptions
    from rstitch_local.llama.context import KV_TYPES

    if kv_type not in KV_TYPES:
        raise UsageError("No such cache type", f"--kv-type {kv_type}: it is one of {', '.join(KV_TYPES)}.")
    layers: tuple[int, int] | None = None
    if gpu_layers != "auto":
        try:
            numbers = [int(part) for part in gpu_layers.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or min(numbers) < 0:
            raise UsageError(
                "Not a number of layers",
                f"--gpu-layers {gpu_layers}: it is 'auto', a number for both models, or two as in '99,20'.",
            )
        layers = (numbers[0], numbers[-1])
    return LoadOptions(gpu_layers=layers, threads=threads, context=context, kv_type=kv_type)


def choose_sampling(
    pair: Pair,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
) -> Sampling:
    """The pair's own sampling, with what the options say laid over it."""
    from rstitch_local.decoding.sampling import Sampling

    own = pair.defaults.sampling
    return Sampling(
        temperature=own.temperature if temperature is None else temperature,
        top_k=own.top_k if top_k is None else top_k,
        top_p=own.top_p if top_p is None else top_p,
        min_p=own.min_p if min_p is None else min_p,
    )
