"""The logarithmic scale for entropies and tau, on which 0.02 and 0.5 are both visible."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

SCALE_MIN = 0.0005
"""The lower end of the scale. The upper end is 1, the entropy of a uniform distribution."""

_STEPS_PER_DECADE = 20


def position_of(entropy: float) -> float:
    """Return the position of a normalized entropy on the scale, 0 to 1; values outside are clamped."""
    return math.log(min(1.0, max(SCALE_MIN, entropy)) / SCALE_MIN) / -math.log(SCALE_MIN)


def entropy_at(position: float) -> float:
    """Return the entropy at a position between 0 and 1, rounded to two significant digits."""
    return _rounded(SCALE_MIN ** (1 - min(1.0, max(0.0, position))))


def stepped(entropy: float, steps: int) -> float:
    """Return the entropy that many steps up or down, rounded to two significant digits; 20 steps are a factor of 10."""
    # From the nearest value of the grid, so that a step back returns to the same value.
    nearest = bisect_right(_GRID, entropy) - 1 if steps > 0 else bisect_left(_GRID, entropy)
    index = nearest + steps
    return _GRID[min(len(_GRID) - 1, max(0, index))]


def format_tau(tau: float) -> str:
    """Return tau with two significant digits: 0.020, 0.00050, 0.35, 1."""
    return f"{tau:#.2g}" if 0 < tau < 1 else f"{tau:.2g}"


def _rounded(value: float) -> float:
    return min(1.0, max(SCALE_MIN, float(f"{value:.2g}")))


_GRID = [_rounded(10 ** (step / _STEPS_PER_DECADE)) for step in range(-66, 1)]
