"""Batch scheduling: which model is evaluated next, and which tokens of which trajectories go into its batch.

Works on counts of tokens and turns only; evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.roles import Role

MAX_IDLE_TURNS = 8
"""Turns after which a model that trajectories wait for is evaluated next."""


class NextModel:
    """Chooses the model that more trajectories wait for, or one that was idle for `MAX_IDLE_TURNS` turns.

    Catch-ups gather meanwhile, and the cost per token falls with the number of tokens in a batch.
    """

    def __init__(self) -> None:
        self._idle_turns = dict.fromkeys(Role, 0)

    def __call__(self, ready: Mapping[Role, Sequence[object]]) -> Role:
        """Return the model to evaluate.

        Args:
            ready: for each model the trajectories that wait for it; not both empty.
        """
        fuller = Role.SLM if len(ready[Role.SLM]) > len(ready[Role.LLM]) else Role.LLM
        other = fuller.other
        chosen = other if ready[other] and self._idle_turns[other] >= MAX_IDLE_TURNS else fuller
        for role in Role:
            self._idle_turns[role] = self._idle_turns[role] + 1 if ready[role] and role is not chosen else 0
        return chosen


@dataclass(slots=True)
class Share:
    """Part of a batch: the next `count` requested tokens of the trajectory at `index`."""

    index: int
    count: int


def fill_batch(requested: Sequence[int], waited: Sequence[int], n_batch: int) -> list[Share]:
    """Distribute the tokens of one batch.

    Trajectories with few requested tokens are served first, so that a long prompt does not delay them. A quarter of
    the batch is reserved for long requests, longest wait first, so that they progress too. What does not fit is cut.

    Args:
        requested: number of tokens each trajectory needs evaluated.
        waited: turns each has waited.
        n_batch: tokens in a batch, more than there are trajectories.

    Returns:
        A share for each trajectory that gets tokens, in order of service.
    """
    reserved = n_batch // 4
    long = [index for index, count in enumerate(requested) if count > reserved]
    if not long and sum(requested) <= n_batch:
        return [Share(index, count) for index, count in enumerate(requested)]
    capacity = n_batch - (reserved if long else 0)
    shares = []
    short = [index for index, count in enumerate(requested) if count <= reserved]
    for index in sorted(short, key=lambda i: (requested[i] > 1, -waited[i])):
        count = min(requested[index], capacity)
        if count == 0:
            break
        shares.append(Share(index, count))
        capacity -= count
    capacity += reserved if long else 0
    for index in sorted(long, key=lambda i: -waited[i]):
        count = min(requested[index], capacity)
        if count == 0:
            break
        shares.append(Share(index, count))
        capacity -= count
    return shares


def split_hidden(
    hidden: Sequence[bool], requested: Sequence[int], waited: Sequence[int], max_outputs: int
) -> tuple[bool, Sequence[int]]:
    """Decide whether the next batch computes hidden states, and which trajectories it serves.

    With hidden states on, every token of a batch is an output, so requests for them get separate batches, which
    alternate with the others. A short catch-up fits into such a batch as a whole; a longer one is evaluated without
    hidden states up to its last token.

    Args:
        hidden: whether each trajectory requests a hidden state.
        requested: number of tokens each needs evaluated.
        waited: turns each has waited.
        max_outputs: outputs per batch that the context allows.

    Returns:
        Whether hidden states are computed, and the indices of the trajectories to serve.
    """
    everyone = range(len(hidden))
    if not any(hidden):
        return False, everyone
    with_hidden, spare = [], max_outputs - len(hidden)
    for index in everyone:
        if hidden[index] and requested[index] - 1 <= spare:
            with_hidden.append(index)
            spare -= requested[index] - 1
    others = [index for index in everyone if index not in with_hidden]
    longest_wait = [max((waited[index] for index in group), default=0) for group in (with_hidden, others)]
    return (True, with_hidden) if longest_wait[0] > longest_wait[1] else (False, others)
