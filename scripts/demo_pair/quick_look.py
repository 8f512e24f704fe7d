"""Greedy answers of a model in torch, many questions at once: a quick look while it trains, not the evaluation.

Knows nothing of llama.cpp; the figures of the data card come from the exported files.
"""

from __future__ import annotations

import re

import torch

from demo_pair.model import DemoModel

BOXED = re.compile(r"\\boxed\{(\d+)\}")


@torch.no_grad()
def answers(model: DemoModel, prompts: list[list[int]], end: int, budget: int) -> list[list[int]]:
    """Greedy continuations of the prompts (token ids), each up to its end token, in the prompts' order.

    All prompts run in one batch, padded at the left: rotary positions are relative, so a shift changes nothing, and
    the padding is masked.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    # (batch, 1, 1, key): which positions hold text; grows by one true column a token.
    seen = (torch.arange(longest + budget)[None, :] >= padding[:, None])[:, None, None, :]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()[None, None]
    # A padded row would otherwise attend to nothing, which is not a number.
    first_mask = (causal & seen[..., :longest]) | torch.eye(longest, dtype=torch.bool)[None, None]
    caches: list[list[torch.Tensor]] = [[] for _ in model.blocks]
    position, done = 0, torch.zeros(len(ids), dtype=torch.bool)
    columns: list[torch.Tensor] = []
    step = ids
    for _ in range(budget):
        x = model.embedding(step)
        table = model.table[:, position : position + step.shape[1]]
        for block, cache in zip(model.blocks, caches, strict=True):
            mask = first_mask if position == 0 else seen[..., : position + 1]
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
