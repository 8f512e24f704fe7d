"""Padded batches of examples of similar length, in an order that depends on the seed.

A batch is addressed by its number, so training can resume at any step. Padding is on the right, where causal attention
ignores it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from demo_pair.data import Examples

IGNORE = -100
"""Target without loss."""

POOL = 1536
"""Number of examples whose batches are shuffled together: mixes the lengths and keeps the curriculum."""

LENGTHS = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 640)
"""Lengths of batches, in tokens. Every shape is compiled once, so there are few."""


def plan(examples: Examples, tokens_per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the example numbers of every batch of an epoch. The first epoch keeps the curriculum of the stored order.

    Every batch is full: `tokens_per_step // length` examples of one length class. The remaining examples of a pool are
    used in the next pool.
    """
    rng = random.Random(f"rstitch batches {seed} {epoch}")
    order = list(range(len(examples)))
    if epoch:
        rng.shuffle(order)
    lengths = np.diff(examples.start)
    waiting: dict[int, list[int]] = {length: [] for length in LENGTHS}
    batches: list[list[int]] = []
    for start in range(0, len(order), POOL):
        complete: list[list[int]] = []
        for i in order[start : start + POOL]:
            if lengths[i] - 1 > LENGTHS[-1]:
                continue  # very few: six-step problems with a system message
            time = padded(int(lengths[i]) - 1)
            waiting[time].append(i)
            if len(waiting[time]) == tokens_per_step // time:
                complete.append(waiting[time])
                waiting[time] = []
        rng.shuffle(complete)
        batches += complete
    return batches


def padded(length: int) -> int:
    """Return the length class of a sequence of `length` inputs."""
    return next(allowed for allowed in LENGTHS if allowed >= length)


def tensors(examples: Examples, batch: list[int]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a batch, both int64 of shape (batch, time); targets without loss are IGNORE."""
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
    """Yield all batches from a step on, for an unlimited number of epochs."""
    epoch, skip = 0, from_step
    while True:
        batches = plan(examples, tokens_per_step, seed, epoch)
        for batch in batches[skip:] if skip < len(batches) else []:
            yield tensors(examples, batch)
        skip = max(0, skip - len(batches))
        epoch += 1
