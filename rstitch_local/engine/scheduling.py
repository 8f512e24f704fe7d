"""Who is next: which model runs, and which tokens of which trajectories go into its next batch.

Knows trajectories as things that wait with a number of tokens; evaluates nothing and holds no caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.roles import Role

LONGEST_WAIT = 8
"""Turns for which a model with work stands still at the most."""


class Turns:
    """Says which model runs next: the one more trajectories wait for, or one that has stood still for too long.

    So catch-ups gather while the others go on: what a token costs falls with the number of tokens in a batch.
    """

    def __init__(self) -> None:
        self._still = dict.fromkeys(Role, 0)

    def __call__(self, ready: Mapping[Role, Sequence[object]]) -> Role:
        """The model that runs next.

        Args:
            ready: for each model the trajectories that wait for it; not both empty.
        """
        fuller, other = Role.LLM, Role.SLM
        if len(ready[Role.SLM]) > len(ready[Role.LLM]):
            fuller, other = other, fuller
        chosen = other if ready[other] and self._still[other] >= LONGEST_WAIT else fuller
        for role in Role:
            self._still[role] = self._still[role] + 1 if ready[role] and role is not chosen else 0
        return chosen


@dataclass(slots=True)
class Share:
    """What one trajectory gets of a batch: `count` of its missing tokens."""

    index: int
    count: int


def compose(missing: Sequence[int], waited: Sequence[int], n_batch: int) -> list[Share]:
    """Deal the tokens of one batch out.

    Trajectories with little to catch up come first, so that a long prompt does not hold them up; a quarter of the
    batch is kept for long ones, the longest waiting first, so that they come in as well. What does not fit is cut.

    Args:
        missing: how many tokens each trajectory needs evaluated.
        waited: how many turns each has waited.
        n_batch: tokens in a batch, more than there are trajectories.

    Returns:
        A share for each that gets something, in the order of service.
    """
    kept_back = n_batch // 4
    long = [index for index, count in enumerate(missing) if count > kept_back]
    if not long and sum(missing) <= n_batch:
        return [Share(index, count) for index, count in enumerate(missing)]
    room = n_batch - (kept_back if long else 0)
    shares = []
    short = [index for index, count in enumerate(missing) if count <= kept_back]
    for index in sorted(short, key=lambda i: (missing[i] > 1, -waited[i])):
        count = min(missing[index], room)
        if count == 0:
            break
        shares.append(Share(index, count))
        room -= count
    room += kept_back if long else 0
    for index in sorted(long, key=lambda i: -waited[i]):
        count = min(missing[index], room)
        if count == 0:
            break
        shares.append(Share(index, count))
        room -= count
    return shares
