"""Contexts of a loaded pair: how many sequences and KV cells, and opening them within the free memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.engine.machine import (
    batch_size,
    cache_bytes,
    default_threads,
    free_gpu_bytes,
    free_memory_bytes,
    plan_slots,
    require_memory,
)
from rstitch_local.engine.options import LoadOptions
from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights


class ContextPlan(NamedTuple):
    """Sizes of both contexts.

    tokens: tokens one sequence can hold, by model.
    sequences: trajectories that can be live at the same time.
    kv_cells: tokens all sequences can hold together; None for `tokens` each.
    """

    tokens: Mapping[Role, int]
    sequences: int
    kv_cells: int | None


def plan_contexts(weights: Mapping[Role, Weights], defaults: PairDefaults, options: LoadOptions) -> ContextPlan:
    """Choose the sizes of both contexts by the options and the free memory."""
    tokens = {role: options.context or min(defaults.context, model.n_ctx_train) for role, model in weights.items()}
    if options.sequences == 1 or options.kv_cells is not None:
        return ContextPlan(tokens, options.sequences or 1, options.kv_cells)
    in_memory = _in_main_memory(weights)
    models = in_memory or list(weights.values())
    bytes_per_token = sum(cache_bytes(model.summary.kv_bytes_per_token, 1, options.kv_type) for model in models)
    # The files count as free memory until they have been read.
    files = sum(model.size_bytes for model in weights.values())
    free = free_memory_bytes() - files if in_memory else free_gpu_bytes()
    return ContextPlan(tokens, *plan_slots(bytes_per_token, max(tokens.values()), free, options.sequences))


def open_contexts(
    weights: Mapping[Role, Weights], defaults: PairDefaults, options: LoadOptions
) -> Mapping[Role, Context]:
    """Open the contexts of both models.

    Raises:
        ModelError: not enough memory.
    """
    plan = plan_contexts(weights, defaults, options)
    cells = plan.kv_cells or max(plan.tokens.values())
    require_memory(
        sum(cache_bytes(model.summary.kv_bytes_per_token, cells, options.kv_type) for model in _in_main_memory(weights))
    )
    contexts: dict[Role, Context] = {}
    try:
        for role in Role:
            contexts[role] = Context(
                weights[role],
                n_ctx=plan.tokens[role],
                n_seq_max=plan.sequences,
                kv_cells=plan.kv_cells,
                n_batch=batch_size(weights[role].gpu_layers, plan.sequences),
                threads=options.threads or default_threads(weights[role].size_bytes),
                kv_type=options.kv_type,
                unified=options.swaps,
            )
    except BaseException:
        for context in contexts.values():
            context.close()
        raise
    return contexts


def _in_main_memory(weights: Mapping[Role, Weights]) -> list[Weights]:
    """Return the models whose KV cache is in main memory.

    With all layers on a GPU the cache is there too, and llama.cpp reports when it does not fit.
    """
    return [model for model in weights.values() if model.gpu_layers <= model.n_layer]
