"""Greedy answers of a torch model in one batch, for validation during training.

The results of the data card come from the exported files; see evaluation.py.
"""

from __future__ import annotations

import re

import torch

from demo_pair.model import DemoModel

BOXED = re.compile(r"\\boxed\{(\d+)\}")


@torch.no_grad()
def greedy_answers(model: DemoModel, prompts: list[list[int]], end: int, max_tokens: int) -> list[list[int]]:
    """Return greedy continuations (token ids) in the order of the prompts, each up to its end token.

    All prompts form one batch, padded on the left: rotary positions are relative, so a shift has no effect, and the
    padding is masked.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    # (batch, 1, 1, key): True for positions with text.
    visible = (torch.arange(longest + max_tokens)[None, :] >= padding[:, None])[:, None, None, :]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()[None, None]
    # Without the diagonal, padded rows would attend to nothing, which gives NaN.
    first_mask = (causal & visible[..., :longest]) | torch.eye(longest, dtype=torch.bool)[None, None]
    caches: list[list[torch.Tensor]] = [[] for _ in model.blocks]
    position, done = 0, torch.zeros(len(ids), dtype=torch.bool)
    columns: list[torch.Tensor] = []
    step = ids
    for _ in range(max_tokens):
        x = model.embedding(step)
        table = model.table[:, position : position + step.shape[1]]
        for block, cache in zip(model.blocks, caches, strict=True):
            mask = first_mask if position == 0 else visible[..., : position + 1]
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
    """Return the last boxed number of an answer, or None."""
    numbers = BOXED.findall(text)
    return int(numbers[-1]) if numbers else None
