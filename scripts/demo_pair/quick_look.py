"""Greedy answers of a model in torch, many questions at once: a quick look while it trains, not the evaluation.

Knows nothing of llama.cpp; the figures of the data card come from the exported files.
"""

from __future__ import annotations

import re

import torch

from scripts.demo_pair.model import DemoModel

BOXED = re.compile(r"\\boxed\{(\d+)\}")


@torch.no_grad()
def answers(model: DemoModel, prompts: list[list[int]], end: int, budget: int) -> list[list[int]]:
    """Greedy continuations of the prompts (token ids), each up to its end token, in the prompts' order.

    Prompts of equal length run together, so that no position has to be masked.
    """
    out: dict[int, list[int]] = {}
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    for numbers in by_length.values():
        written = _batch(model, torch.tensor([prompts[n] for n in numbers]), end, budget)
        out.update(zip(numbers, written, strict=True))
    return [out[n] for n in range(len(prompts))]


def _batch(model: DemoModel, ids: torch.Tensor, end: int, budget: int) -> list[list[int]]:
    caches: list[list[torch.Tensor]] = [[] for _ in model.blocks]
    position, done = 0, torch.zeros(len(ids), dtype=torch.bool)
    columns: list[torch.Tensor] = []
    step = ids
    for _ in range(budget):
        x = model.embedding(step)
        table = model.table[:, position : position + step.shape[1]]
        for block, cache in zip(model.blocks, caches, strict=True):
            mask = None if position == 0 else torch.ones(1, 1, 1, position + 1, dtype=torch.bool)
            x = block(x, table, cache, mask)
        position += step.shape[1]
        chosen = model.logits(model.norm(x[:, -1])).argmax(-1)
        columns.append(chosen)
        done |= chosen == end
        if bool(done.all()):
            break
        step = chosen[:, None]
    rows = torch.stack(columns, 1).tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def boxed(text: str) -> int | None:
    """The last boxed number of an answer."""
    found = BOXED.findall(text)
    return int(found[-1]) if found else None
