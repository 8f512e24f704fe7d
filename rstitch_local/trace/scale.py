"""The logarithmic scale of entropies in charts, and the threshold in effect at a token."""

from __future__ import annotations

import math

from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import tau_of_spec
from rstitch_local.trace.record import Trace

LOWEST = 0.0005
"""The lower end of the scale. Most entropies, and the useful values of tau, are near it, hence the logarithm."""


def level(entropy: float) -> float:
    """Return the position of a normalized entropy on the scale, from 0 (LOWEST and below) to 1."""
    if not entropy > LOWEST:
        return 0.0
    return min(1.0, 1.0 - math.log(entropy) / math.log(LOWEST))


def tau_at_start(trace: Trace) -> float | None:
    """Return the threshold at the beginning of an answer; None for a router without one."""
    tau = trace.settings.get("tau")
    if isinstance(tau, int | float):
        return float(tau)
    try:
        return tau_of_spec(str(trace.settings.get("router", "")))
    except UsageError:
        return None


def tau_at(trace: Trace, index: int) -> float | None:
    """Return the threshold in effect at a token; None for a router without one."""
    return next((tau for position, tau in reversed(trace.taus) if position <= index), tau_at_start(trace))
