"""Cuts the stored examples into padded batches of similar length, in an order fixed by the seed.

A batch is addressed by its number, so training resumes at any step without replaying. Padding stands at the right,
where causal attention never looks. Knows nothing of what the ids mean.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from demo_pair.data import Examples

IGNORE = -100
"""The target that carries no loss."""

POOL = 1536
"""Examples whose batches are shuffled together: enough to mix the lengths, few enough to keep the curriculum."""

LENGTHS = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 640)
"""Lengths a batch can have, in tokens: every shape is compiled once, so there are few."""


def plan(examples: Examples, tokens_per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """Example numbers of every batch of an epoch; the first epoch keeps the stored order's curriculum.

    Every batch is full: `tokens_per_step // length` examples of one length class. What is left of a pool waits
    for the next pool.
    """
    rng = random.Random(f"rstitch batches {seed} {epoch}")
    order = list(range(len(examples)))
    if epoch:
        rng.shuffle(order)
    lengths = np.diff(examples.start)
    waiting: dict[int, list[int]] = {length: [] for length in LENGTHS}
    batches: list[list[int]] = []
    for begin in range(0, len(order), POOL):
        made: list[list[int]] = []
        for i in order[begin : begin + POOL]:
            if lengths[i] - 1 > LENGTHS[-1]:
                continue  # a handful of six-step problems with a system message
            time = padded(int(lengths[i]) - 1)
            waiting[time].append(i)
            if len(waiting[time]) == tokens_per_step // time:
                made.append(waiting[time])
                waiting[time] = []
        rng.shuffle(made)
        batches += made
    return batches


def padded(length: int) -> int:
    """The length class a sequence of so many inputs belongs to."""
    return next(allowed for allowed in LENGTHS if allowed >= length)


def tensors(examples: Examples, batch: list[int]) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a batch, both (batch, time) int64; targets are IGNORE where no loss is wanted."""
    time = padded(int(examples.start[batch[0] + 1] - examples.start[batch[0]]) - 1)
    inputs = np.zeros((len(batch), time), dtype=np.int64)
    targets = np.full((len(batch), time), IGNORE, dtype=np.int64)
    for row, i in enumerate(batch):
        ids = examples.ids[examples.start[i] : examples.start[i + 1]].astype(np.int64)
        first = int(examples.loss[i])
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, first - 1 : len(ids) - 1] = ids[first:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def stream(examples: Examples, tokens_per_step: int, seed: int, from_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All batches from a step on, epoch after epoch without end."""
    epoch, skip = 0, from_step
    while True:
        batches = plan(examples, tokens_per_step, seed, epoch)
        for batch in batches[skip:] if skip < len(batches) else []:
            yield tensors(examples, batch)
        skip = max(0, skip - len(batches))
        epoch += 1
