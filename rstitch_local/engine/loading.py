"""Loading pairs: files into memory, layers onto the GPU, and loading progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.contexts import open_contexts
from rstitch_local.engine.machine import Demand, fit_layers, free_gpu_bytes
from rstitch_local.engine.options import LoadOptions
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.trial import OnTrial, open_trial
from rstitch_local.engine.vocabularies import bridge_of, template_of
from rstitch_local.errors import UsageError
from rstitch_local.llama import library
from rstitch_local.llama.context import Context
from rstitch_local.llama.gguf_check import GgufSummary, check_gguf
from rstitch_local.llama.weights import ALL_LAYERS, Weights

__all__ = ["LoadOptions", "LoadProgress", "load_choice", "load_pair"]

LoadProgress = Callable[[Role, float], bool]
"""Called with the model being loaded and the fraction loaded, 0 to 1. Returning False cancels loading."""


def load_pair(
    name: str | None = None,
    *,
    slm: Path | str | None = None,
    llm: Path | str | None = None,
    options: LoadOptions | None = None,
    progress: LoadProgress | None = None,
    on_trial: OnTrial | None = None,
) -> Pair:
    """Load a pair of the catalog by its name, or any two GGUF files.

    Args:
        name: a downloaded pair of the catalog. Default: the first one that is on this disk.
        slm: the small model's GGUF file, instead of a name.
        llm: the large model's GGUF file, together with `slm`.
        options: how to load them: GPU layers, threads, context and others.
        progress: called during loading; may cancel it.
        on_trial: called several times a second while a file that this machine has never loaded is tried in another
            process, with its model; returning False cancels loading. See `LoadOptions.trust_models`.

    Returns:
        The pair. Use it in a `with` statement, or call `close` at the end.

    Raises:
        UsageError: only one of the two files is given, files and a name, or a file as the name; or `options` is no
            LoadOptions.
        ModelError: the pair is unknown, a file is missing or damaged, the models cannot work together, or there is not
            enough memory.
        CancelledError: `progress` or `on_trial` returned False.
    """
    return load_choice(choose_pair(name, slm, llm), options, progress, on_trial)


def load_choice(
    choice: PairChoice,
    options: LoadOptions | None = None,
    progress: LoadProgress | None = None,
    on_trial: OnTrial | None = None,
) -> Pair:
    """Load a pair that `choose_pair` returned; otherwise as `load_pair`."""
    options = LoadOptions() if options is None else options
    if not isinstance(options, LoadOptions):
        raise UsageError(
            "Invalid load options", f"options is of type {type(options).__name__}.", "Pass LoadOptions(...)."
        )
    gpu_layers: Mapping[Role, int | None] = {role: options.layers_of(role) for role in Role}
    paths = {Role.SLM: choice.slm, Role.LLM: choice.llm}
    summaries = {role: check_gguf(path) for role, path in paths.items()}
    if options.gpu_layers is None:
        tokens = options.context or choice.defaults.context
        # KV cells for two full contexts suffice: more sequences share them where the GPU has no more memory.
        kv_cells = options.kv_cells or tokens * min(options.sequences or 2, 2)
        gpu_layers = _plan_offload(summaries, kv_cells)
    weights: dict[Role, Weights] = {}
    contexts: Mapping[Role, Context] = {}
    try:
        with open_trial(choice, trusted=options.trust_models) as trial:
            for role in Role:
                # The other file is tried while this one is loaded.
                trial.wait(role, on_trial)
                layers = gpu_layers[role] or 0
                weights[role] = Weights(paths[role], gpu_layers=layers, progress=_for_role(progress, role))
        bridge = bridge_of(weights)
        templates = {role: template_of(model, choice.templates.get(role)) for role, model in weights.items()}
        contexts = open_contexts(weights, choice.defaults, options)
        return Pair(choice.name, weights, contexts, bridge, templates, choice.defaults, options)
    except BaseException:
        # Not left to the garbage collector: the traceback of the error would keep gigabytes alive.
        for context in contexts.values():
            context.close()
        for loaded in weights.values():
            loaded.close()
        raise


def _for_role(progress: LoadProgress | None, role: Role) -> Callable[[float], bool] | None:
    return None if progress is None else lambda share: progress(role, share)


def _plan_offload(summaries: Mapping[Role, GgufSummary], kv_cells: int) -> dict[Role, int]:
    """Return the number of GPU layers of both models: as many as fit into the free memory of the GPUs."""
    if not library.build().gpu_offload:
        return dict.fromkeys(Role, 0)
    free = free_gpu_bytes()
    demands = []
    for role in Role:
        summary = summaries[role]
        layers = (summary.block_count or 32) + 1
        cache = summary.kv_bytes_per_token * kv_cells
        demands.append(Demand(layers, (summary.file_size + cache) // layers))
    return {
        role: ALL_LAYERS if count == demand.layers else count
        for role, count, demand in zip(Role, fit_layers(demands, free), demands, strict=True)
    }
