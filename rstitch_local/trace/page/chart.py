"""An SVG chart of the entropies of an answer: one bar per token in the color of its model, and tau."""

from __future__ import annotations

import math
from itertools import groupby

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_local.trace.scale import LOWEST, level, tau_at_start

_WIDTH, _HEIGHT = 1000, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 996, 22, 138
_NATS_AXIS_WIDTH = 40
_BAND, _BAND_HEIGHT = _BOTTOM + 3, 6
_MAX_BARS = 476
_TICKS = (0.001, 0.01, 0.1, 1.0)
_TICKS_IN_NATS = (0.01, 0.1, 1.0, 10.0)
_MAX_TOKEN_TICKS = 10


def chart(trace: Trace) -> str:
    """Return the chart as SVG; "" for an answer without tokens.

    In a long answer several tokens share a bar, which shows the highest of their entropies. Dots show the SLM's entropy
    at swaps to the LLM; the band below shows the tokens of the LLM. The left axis is the normalized entropy. An axis in
    nats on the right is added if both vocabularies have about the same known size.
    """
    steps = trace.steps
    if not steps:
        return ""
    size = math.ceil(len(steps) / _MAX_BARS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    nats_per_unit = _nats_per_unit(trace)
    right = _RIGHT if nats_per_unit is None else _RIGHT - _NATS_AXIS_WIDTH
    bar_width = (right - _LEFT) * size / len(steps)
    unit = "token" if size == 1 else f"{size} tokens"
    return (
        f'<figure><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Entropy of each token"'
        f' data-left="{_LEFT}" data-right="{right}" data-tokens="{len(steps)}">'
        f"{_entropy_axes(nats_per_unit, right)}{_token_axis(len(steps), right)}"
        f"{_bars(groups, bar_width)}{_llm_band(groups, bar_width, right)}"
        f"{_swap_dots(groups, bar_width)}{_tau_line(trace, right)}"
        f'<path class="cursor" d="M0 {_TOP}V{_BAND + _BAND_HEIGHT}" visibility="hidden"/></svg>'
        f"<figcaption>Entropy of the generating model, one bar per {unit}, logarithmic scale. Dots: entropy of the SLM "
        "at swaps to the LLM. Band below: tokens of the LLM.</figcaption></figure>"
    )


def _nats_per_unit(trace: Trace) -> float | None:
    """Return ln V if it is known and about equal for both models; otherwise None."""
    slm, llm = (trace.nats(role, 1.0) for role in Role)
    return slm if slm is not None and llm is not None and abs(slm - llm) < 0.01 * slm else None


def _bars(groups: list[list[Step]], bar_width: float) -> str:
    bars: dict[Role, list[str]] = {role: [] for role in Role}
    for number, group in enumerate(groups):
        x = _LEFT + (number + 0.5) * bar_width
        highest = max(group, key=lambda step: step.entropy)
        bars[highest.role].append(f"M{x:.1f} {_BOTTOM}V{min(_y(highest.entropy), _BOTTOM - 1):.1f}")
    return "".join(
        f'<path class="{role.value}" stroke-width="{min(bar_width * 0.8, 14):.2f}" d="{"".join(marks)}"/>'
        for role, marks in bars.items()
        if marks
    )


def _swap_dots(groups: list[list[Step]], bar_width: float) -> str:
    dots = []
    for number, group in enumerate(groups):
        entropy = max((step.swap_entropy for step in group if step.swap_entropy is not None), default=None)
        if entropy is not None:
            x = _LEFT + (number + 0.5) * bar_width
            dots.append(f'<circle cx="{x:.1f}" cy="{_y(entropy):.1f}" r="2.5"/>')
    return f'<g class="dots">{"".join(dots)}</g>'


def _entropy_axes(nats_per_unit: float | None, right: int) -> str:
    lines = "".join(
        f'<path class="grid" d="M{_LEFT} {_y(tick):.1f}H{right}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(tick) + 4:.1f}">{tick:g}</text>'
        for tick in _TICKS
    )
    lines += f'<text class="start" x="4" y="{_TOP - 10}">entropy, normalized</text>'
    if nats_per_unit is None:
        return lines
    ticks = [tick for tick in _TICKS_IN_NATS if LOWEST < tick / nats_per_unit <= 1]
    return (
        lines
        + f'<text x="{_RIGHT}" y="{_TOP - 10}">nats</text>'
        + "".join(
            f'<path class="grid" d="M{right} {_y(tick / nats_per_unit):.1f}h5"/>'
            f'<text class="start" x="{right + 8}" y="{_y(tick / nats_per_unit) + 4:.1f}">{tick:g}</text>'
            for tick in ticks
        )
    )


def _token_axis(count: int, right: int) -> str:
    """Return round token numbers below the chart."""
    spacing = next(
        factor * 10**power
        for power in range(12)
        for factor in (1, 2, 5)
        if count <= factor * 10**power * _MAX_TOKEN_TICKS
    )
    ticks = "".join(
        f'<text class="middle" x="{_LEFT + (right - _LEFT) * (at + 0.5) / count:.1f}" y="{_HEIGHT - 8}">{at}</text>'
        for at in range(spacing, count, spacing)
    )
    return f'{ticks}<text class="start" x="4" y="{_HEIGHT - 8}">token</text>'


def _llm_band(groups: list[list[Step]], bar_width: float, right: int) -> str:
    """Return a band below the tokens of the LLM; if several tokens share a bar, its height is the LLM share."""
    path, first = "", 0
    for share, stretch in groupby(sum(step.role is Role.LLM for step in group) / len(group) for group in groups):
        length = sum(1 for _ in stretch)
        if share:
            start, end = _LEFT + first * bar_width, min(_LEFT + (first + length) * bar_width, right)
            path += f"M{start:.1f} {_BAND}H{end:.1f}v{_BAND_HEIGHT * share:.1f}H{start:.1f}z"
        first += length
    return f'<path class="band" d="{path}"/>' if path else ""


def _tau_line(trace: Trace, right: int) -> str:
    """Return the line of tau with its changes, labeled with the last value."""
    start = tau_at_start(trace)
    if start is None:
        return ""
    length = len(trace.steps)
    path, tau = f"M{_LEFT} {_y(start):.1f}", start
    for position, tau in trace.taus:
        x = _LEFT + (right - _LEFT) * min(max(position, 0), length) / length
        path += f"H{x:.1f}V{_y(tau):.1f}"
    # The label is above the line, and inside the chart.
    y = max(_y(tau), _TOP + 12) - 4
    return f'<path class="tau" d="{path}H{right}"/><text class="tau" x="{right - 4}" y="{y:.1f}">tau {tau:g}</text>'


def _y(entropy: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * level(entropy)
