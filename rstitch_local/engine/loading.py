"""From two files to a pair in memory: what goes on the GPU, how large the caches are, and how far loading is.

Knows the machine's room and what a pair wants of it; what the pair is then asked is pair's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice, PairDefaults, choose_pair
from rstitch_local.engine.machine import (
    Demand,
    batch_size,
    cache_bytes,
    default_threads,
    fit_layers,
    free_gpu_bytes,
    free_memory_bytes,
    plan_slots,
    require_memory,
)
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.vocabularies import bridge_of, template_of
from rstitch_local.llama import library
from rstitch_local.llama.context import Context
from rstitch_local.llama.gguf_check import GgufSummary, check_gguf
from rstitch_local.llama.weights import ALL_LAYERS, Weights

LoadProgress = Callable[[Role, float], bool]
"""Called with the model being loaded and the share loaded, 0 to 1; returning False cancels."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a pair is put into memory.

    gpu_layers: layers on the GPU for (SLM, LLM); None for as many as fit.
    threads: CPU threads; None for the physical cores.
    context: tokens each cache holds; None for the pair's own number.
    kv_type: cache precision, f16, q8_0 or q4_0.
    sequences: trajectories that can be live at once; None for as many as pay and the memory has room for.
    kv_cells: tokens all of them can hold together in each cache; None for `context` tokens each, or as many of them as
        fit into half of the free memory.
    swaps: whether both models will write the same answers. Where only one does, its sequences take single tokens side
        by side, which is faster from caches of their own; where they catch up, from one store (`Context.unified`).
    """

    gpu_layers: tuple[int, int] | None = None
    threads: int | None = None
    context: int | None = None
    kv_type: str = "f16"
    sequences: int | None = 1
    kv_cells: int | None = None
    swaps: bool = True


def load_pair(
    name: str | None = None,
    *,
    slm: Path | str | None = None,
    llm: Path | str | None = None,
    options: LoadOptions | None = None,
    progress: LoadProgress | None = None,
) -> Pair:
    """Load a pair of the catalogue by name, or any two local files.

    Args:
        name: a pair of the catalogue that is on this disk; the first one there if None.
        slm: the small model's GGUF file, instead of a name.
        llm: the large one's, together with `slm`.
        options: how to put them into memory.
        progress: told how far loading is.

    Raises:
        UsageError: only one of the two files was named, or files and a name.
        ModelError: no such pair, a file is missing or broken, the two cannot work together, or too little memory.
        CancelledError: `progress` returned False.
    """
    return load_choice(choose_pair(name, slm, llm), options, progress)


def load_choice(choice: PairChoice, options: LoadOptions | None = None, progress: LoadProgress | None = None) -> Pair:
    """Load a pair that was chosen already; the rest is as in `load_pair`."""
    options = options or LoadOptions()
    paths = {Role.SLM: choice.slm, Role.LLM: choice.llm}
    summaries = {role: check_gguf(path) for role, path in paths.items()}
    if options.gpu_layers is None:
        context = options.context or choice.defaults.context
        # Many trajectories share what two whole contexts take, where the GPU has no more.
        kv_cells = options.kv_cells or context * min(options.sequences or 2, 2)
        options = replace(options, gpu_layers=_plan_offload(summaries, kv_cells))
    weights: dict[Role, Weights] = {}
    contexts: Mapping[Role, Context] = {}
    try:
        for role, layers in zip(Role, options.gpu_layers or (0, 0), strict=True):
            weights[role] = Weights(paths[role], gpu_layers=layers, progress=_for_role(progress, role))
        bridge = bridge_of(weights)
        templates = {role: template_of(w, choice.templates.get(role)) for role, w in weights.items()}
        contexts = open_contexts(weights, choice.defaults, options)
        return Pair(choice.name, weights, contexts, bridge, templates, choice.defaults)
    except BaseException:
        # Not left to the garbage collector: the error's traceback would keep gigabytes alive.
        for cache in contexts.values():
            cache.close()
        for loaded in weights.values():
            loaded.close()
        raise


def open_contexts(
    weights: Mapping[Role, Weights], defaults: PairDefaults, options: LoadOptions
) -> Mapping[Role, Context]:
    """The caches of both models, as large as asked for or as the memory has room for.

    Raises:
        ModelError: there is not enough memory.
    """
    contexts: dict[Role, Context] = {}
    tokens = {role: options.context or min(defaults.context, w.n_ctx_train) for role, w in weights.items()}
    # Where all layers are on a GPU the cache is there too, and llama.cpp says when it does not fit.
    here = [w.summary.kv_bytes_per_token for w in weights.values() if w.gpu_layers <= w.n_layer]
    sequences, kv_cells = options.sequences or 1, options.kv_cells
    if options.sequences != 1 and kv_cells is None:
        kv = here or [w.summary.kv_bytes_per_token for w in weights.values()]
        per_token = sum(cache_bytes(each, 1, options.kv_type) for each in kv)
        # The files count as free memory as long as they have not been read.
        free = free_memory_bytes() - sum(w.size_bytes for w in weights.values()) if here else free_gpu_bytes()
        sequences, kv_cells = plan_slots(per_token, max(tokens.values()), free, options.sequences)
    require_memory(sum(cache_bytes(each, kv_cells or max(tokens.values()), options.kv_type) for each in here))
    try:
        for role in Role:
            contexts[role] = Context(
                weights[role],
                n_ctx=tokens[role],
                n_seq_max=sequences,
                kv_cells=kv_cells,
                n_batch=batch_size(weights[role].gpu_layers, sequences),
                threads=options.threads or default_threads(weights[role].size_bytes),
                kv_type=options.kv_type,
                unified=options.swaps,
            )
    except BaseException:
        for context in contexts.values():
            context.close()
        raise
    return contexts


def _for_role(progress: LoadProgress | None, role: Role) -> Callable[[float], bool] | None:
    return None if progress is None else lambda share: progress(role, share)


def _plan_offload(summaries: Mapping[Role, GgufSummary], kv_cells: int) -> tuple[int, int]:
    """GPU layers for both models: all that fit into what the GPUs have free."""
    if not library.build().gpu_offload:
        return (0, 0)
    free = free_gpu_bytes()
    demands = []
    for role in Role:
        summary = summaries[role]
        layers = (summary.block_count or 32) + 1
        cache = summary.kv_bytes_per_token * kv_cells
        demands.append(Demand(layers, (summary.file_size + cache) // layers))
    slm, llm = (
        ALL_LAYERS if count == demand.layers else count
        for count, demand in zip(fit_layers(demands, free), demands, strict=True)
    )
    return slm, llm
