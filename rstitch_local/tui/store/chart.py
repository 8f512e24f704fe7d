"""The entropy of an answer's tokens as a picture: a bar each in the colour of its model, and tau.

Knows SVG and Trace; nothing of pages.
"""

from __future__ import annotations

import math

from rstitch_local.decoding.router_spec import router_from_spec
from rstitch_local.decoding.routers import EntropyRouter, Role
from rstitch_local.decoding.trajectory import Step
from rstitch_local.engine.trace import Trace
from rstitch_local.errors import UsageError

# What tau is chosen from, and where almost all entropies lie; so the scale is logarithmic.
_LOWEST = 0.0005
_WIDTH, _HEIGHT = 1000, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 996, 8, 134
_MOST_BARS = 476
_TICKS = (0.001, 0.01, 0.1, 1.0)


def level(entropy: float) -> float:
    """Where an entropy stands between sure and at a loss, 0 to 1, on a logarithmic scale."""
    if not entropy > _LOWEST:
        return 0.0
    return min(1.0, 1.0 - math.log(entropy) / math.log(_LOWEST))


def tau_at_start(trace: Trace) -> float | None:
    """The threshold an answer began with; None where another kind of router decided."""
    tau = trace.settings.get("tau")
    if isinstance(tau, int | float):
        return float(tau)
    try:
        router = router_from_spec(str(trace.settings.get("router", "")))
    except UsageError:
        return None
    return router.tau if isinstance(router, EntropyRouter) else None


def chart(trace: Trace) -> str:
    """An SVG with a bar for each token, or for the least sure of several where there are many; "" without tokens.

    A dot is the entropy at which the SLM passed control to the LLM.
    """
    steps = trace.steps
    if not steps:
        return ""
    size = math.ceil(len(steps) / _MOST_BARS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    pitch = (_RIGHT - _LEFT) * size / len(steps)
    bars: dict[Role, list[str]] = {role: [] for role in Role}
    dots = []
    for number, group in enumerate(groups):
        x = _LEFT + (number + 0.5) * pitch
        top = max(group, key=_entropy)
        bars[top.role].append(f"M{x:.1f} {_BOTTOM}V{min(_y(top.entropy), _BOTTOM - 1):.1f}")
        unsure = max((step.unsure for step in group if step.unsure is not None), default=None)
        if unsure is not None:
            dots.append(f'<circle cx="{x:.1f}" cy="{_y(unsure):.1f}" r="2"/>')
    ticks = "".join(
        f'<path class="grid" d="M{_LEFT} {_y(tick):.1f}H{_RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in _TICKS
    )
    drawn = "".join(
        f'<path class="{role.value}" stroke-width="{min(pitch * 0.8, 14):.2f}" d="{"".join(marks)}"/>'
        for role, marks in bars.items()
        if marks
    )
    each = "token" if size == 1 else f"{size} tokens"
    return (
        f'<figure><svg id="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Entropy of each token"'
        f' data-left="{_LEFT}" data-right="{_RIGHT}" data-tokens="{len(steps)}">'
        f'{ticks}{drawn}<g class="dots">{"".join(dots)}</g>{_tau(trace)}'
        f'<path id="cursor" d="M0 {_TOP}V{_BOTTOM}" visibility="hidden"/></svg>'
        f"<figcaption>Entropy of the writer, a bar for each {each}, on a logarithmic scale. Dots: the SLM's entropy"
        " where the LLM took over.</figcaption></figure>"
    )


def _tau(trace: Trace) -> str:
    """The line of tau with its changes, and the value it ends with."""
    start = tau_at_start(trace)
    if start is None:
        return ""
    length = len(trace.steps)
    path, tau = f"M{_LEFT} {_y(start):.1f}", start
    for position, tau in trace.taus:
        x = _LEFT + (_RIGHT - _LEFT) * min(max(position, 0), length) / length
        path += f"H{x:.1f}V{_y(tau):.1f}"
    # The figure stands above the line, and inside the picture.
    y = max(_y(tau), _TOP + 12) - 4
    return f'<path class="tau" d="{path}H{_RIGHT}"/><text class="tau" x="{_RIGHT}" y="{y:.1f}">tau {tau:g}</text>'


def _entropy(step: Step) -> float:
    return step.entropy


def _y(entropy: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * level(entropy)
