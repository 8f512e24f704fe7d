"""The logarithmic scale on which entropies and tau are shown: 0.02 and 0.5 can both be seen on it.

Knows numbers only.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

LEAST = 0.0005
"""The lower end of the scale; the upper one is 1, the entropy of a model that knows nothing."""

_FINE_PER_DECADE = 20


def place_of(entropy: float) -> float:
    """Where on the scale a normalised entropy lies, from 0 to 1; what is outside is at an end."""
    return math.log(min(1.0, max(LEAST, entropy)) / LEAST) / -math.log(LEAST)


def value_at(place: float) -> float:
    """The entropy at a place from 0 to 1, of two significant digits."""
    return _readable(LEAST ** (1 - min(1.0, max(0.0, place))))


def stepped(entropy: float, steps: int) -> float:
    """So many fine steps (20 to a factor of ten) up or down from here, of two significant digits."""
    # Onto the grid first, so that a step back leads to where one came from.
    nearest = bisect_right(_GRID, entropy) - 1 if steps > 0 else bisect_left(_GRID, entropy)
    index = nearest + steps
    return _GRID[min(len(_GRID) - 1, max(0, index))]


def tau_text(tau: float) -> str:
    """A tau in figures: 0.020, 0.00050, 0.35, 1."""
    return f"{tau:#.2g}" if 0 < tau < 1 else f"{tau:.2g}"


def _readable(value: float) -> float:
    return min(1.0, max(LEAST, float(f"{value:.2g}")))


_GRID = [_readable(10 ** (step / _FINE_PER_DECADE)) for step in range(-66, 1)]
