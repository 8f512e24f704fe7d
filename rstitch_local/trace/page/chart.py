"""The entropy of an answer's tokens as a picture: a bar each in the colour of its model, and tau.

Knows SVG and Trace; nothing of pages.
"""

from __future__ import annotations

import math
from itertools import groupby

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import tau_of_spec
from rstitch_local.trace.record import Trace

# What tau is chosen from, and where almost all entropies lie; so the scale is logarithmic.
_LOWEST = 0.0005
_WIDTH, _HEIGHT = 1000, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 996, 22, 138
_ROOM_FOR_NATS = 40
_BAND, _BAND_HEIGHT = _BOTTOM + 3, 6
_MOST_BARS = 476
_TICKS = (0.001, 0.01, 0.1, 1.0)
_TICKS_IN_NATS = (0.01, 0.1, 1.0, 10.0)
_MOST_PLACES = 10


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
        return tau_of_spec(str(trace.settings.get("router", "")))
    except UsageError:
        return None


def tau_at(trace: Trace, index: int) -> float | None:
    """The threshold that decided about a token; None where another kind of router did."""
    return next((tau for position, tau in reversed(trace.taus) if position <= index), tau_at_start(trace))


def chart(trace: Trace) -> str:
    """An SVG with a bar for each token, or for the least sure of several where there are many; "" without tokens.

    A dot is the entropy at which the SLM passed control to the LLM; the band below shows where the LLM wrote. The
    scale is of normalised entropies, with one in nats on the right where both vocabularies are known to be as large.
    """
    steps = trace.steps
    if not steps:
        return ""
    size = math.ceil(len(steps) / _MOST_BARS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    per_nat = _nats(trace)
    right = _RIGHT if per_nat is None else _RIGHT - _ROOM_FOR_NATS
    pitch = (right - _LEFT) * size / len(steps)
    bars: dict[Role, list[str]] = {role: [] for role in Role}
    dots = []
    for number, group in enumerate(groups):
        x = _LEFT + (number + 0.5) * pitch
        top = max(group, key=_entropy)
        bars[top.role].append(f"M{x:.1f} {_BOTTOM}V{min(_y(top.entropy), _BOTTOM - 1):.1f}")
        unsure = max((step.swap_entropy for step in group if step.swap_entropy is not None), default=None)
        if unsure is not None:
            dots.append(f'<circle cx="{x:.1f}" cy="{_y(unsure):.1f}" r="2.5"/>')
    drawn = "".join(
        f'<path class="{role.value}" stroke-width="{min(pitch * 0.8, 14):.2f}" d="{"".join(marks)}"/>'
        for role, marks in bars.items()
        if marks
    )
    each = "token" if size == 1 else f"{size} tokens"
    return (
        f'<figure><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Entropy of each token"'
        f' data-left="{_LEFT}" data-right="{right}" data-tokens="{len(steps)}">'
        f"{_scales(per_nat, right)}{_places(len(steps), right)}{drawn}{_band(groups, pitch, right)}"
        f'<g class="dots">{"".join(dots)}</g>{_tau(trace, right)}'
        f'<path class="cursor" d="M0 {_TOP}V{_BAND + _BAND_HEIGHT}" visibility="hidden"/></svg>'
        f"<figcaption>Entropy of the writer, a bar for each {each}, on a logarithmic scale. Dots: the SLM's entropy"
        " where the LLM took over. The band below: where the LLM wrote.</figcaption></figure>"
    )


def _nats(trace: Trace) -> float | None:
    """What one is in nats, ln V, where both models have that in common as far as can be seen."""
    slm, llm = (trace.nats(role, 1.0) for role in Role)
    return slm if slm is not None and llm is not None and abs(slm - llm) < 0.01 * slm else None


def _scales(per_nat: float | None, right: int) -> str:
    lines = "".join(
        f'<path class="grid" d="M{_LEFT} {_y(tick):.1f}H{right}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in _TICKS
    )
    lines += f'<text class="first" x="4" y="{_TOP - 10}">entropy, normalised</text>'
    if per_nat is None:
        return lines
    ticks = [tick for tick in _TICKS_IN_NATS if _LOWEST < tick / per_nat <= 1]
    return (
        lines
        + f'<text x="{_RIGHT}" y="{_TOP - 10}">nats</text>'
        + "".join(
            f'<path class="grid" d="M{right} {_y(tick / per_nat):.1f}h5"/>'
            f'<text class="first" x="{right + 8}" y="{_y(tick / per_nat) + 4:.1f}">{tick:g}</text>'
            for tick in ticks
        )
    )


def _places(count: int, right: int) -> str:
    """Round numbers of tokens below the picture."""
    step = next(
        factor * 10**power for power in range(12) for factor in (1, 2, 5) if count <= factor * 10**power * _MOST_PLACES
    )
    marks = "".join(
        f'<text class="place" x="{_LEFT + (right - _LEFT) * (at + 0.5) / count:.1f}" y="{_HEIGHT - 8}">{at}</text>'
        for at in range(step, count, step)
    )
    return f'{marks}<text class="first" x="4" y="{_HEIGHT - 8}">token</text>'


def _band(groups: list[list[Step]], pitch: float, right: int) -> str:
    """A band under the stretches in which the LLM wrote; where several tokens share a bar, as thick as its share."""
    path, place = "", 0
    for share, stretch in groupby(sum(step.role is Role.LLM for step in group) / len(group) for group in groups):
        length = sum(1 for _ in stretch)
        if share:
            start, end = _LEFT + place * pitch, min(_LEFT + (place + length) * pitch, right)
            path += f"M{start:.1f} {_BAND}H{end:.1f}v{_BAND_HEIGHT * share:.1f}H{start:.1f}z"
        place += length
    return f'<path class="band" d="{path}"/>' if path else ""


def _tau(trace: Trace, right: int) -> str:
    """The line of tau with its changes, and the value it ends with."""
    start = tau_at_start(trace)
    if start is None:
        return ""
    length = len(trace.steps)
    path, tau = f"M{_LEFT} {_y(start):.1f}", start
    for position, tau in trace.taus:
        x = _LEFT + (right - _LEFT) * min(max(position, 0), length) / length
        path += f"H{x:.1f}V{_y(tau):.1f}"
    # The figure stands above the line, and inside the picture.
    y = max(_y(tau), _TOP + 12) - 4
    return f'<path class="tau" d="{path}H{right}"/><text class="tau" x="{right - 4}" y="{y:.1f}">tau {tau:g}</text>'


def _entropy(step: Step) -> float:
    return step.entropy


def _y(entropy: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * level(entropy)
