"""From the options of a command to a loaded pair, with a loading bar on stderr.

Knows what the options mean for loading; nothing of what the pair is wanted for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rstitch_local.commands.console import make_console
from rstitch_local.errors import UsageError

if TYPE_CHECKING:
    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.engine.loading import LoadOptions
    from rstitch_local.engine.pair import Pair


def open_pair(
    choice: PairChoice,
    *,
    gpu_layers: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    kv_type: str = "f16",
    sequences: int | None = 1,
    swaps: bool = True,
) -> Pair:
    """Load a pair; `sequences` answers can be written at once, None for what pays here. See LoadOptions for `swaps`.

    Raises:
        UsageError: options that mean nothing.
        ModelError: see `load_pair`.
    """
    options = replace(load_options(gpu_layers, threads, context, kv_type), sequences=sequences, swaps=swaps)
    from rich.progress import BarColumn, Progress, TextColumn

    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.loading import load_choice

    screen = make_console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), console=screen, transient=True, disable=not screen.is_terminal
    ) as bars:
        tasks = {role: bars.add_task(f"Loading {role.name}", total=1.0) for role in Role}

        def report(role: Role, share: float) -> bool:
            bars.update(tasks[role], completed=share)
            return True

        pair = load_choice(choice, options, report)
    if pair.notice is not None:
        screen.print(pair.notice, style="dim", soft_wrap=True)
    return pair


def load_options(gpu_layers: str, threads: int | None, context: int | None, kv_type: str) -> LoadOptions:
    """What the options say about loading; raises UsageError where they mean nothing."""
    from rstitch_local.engine.loading import LoadOptions
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
    own: Sampling, *, temperature: float | None, top_p: float | None, top_k: int | None, min_p: float | None
) -> Sampling:
    """A pair's own sampling, with what the options say laid over it."""
    given: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    return replace(own, **{name: value for name, value in given.items() if value is not None})
