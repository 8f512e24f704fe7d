"""Style and drawing functions shared by the plots of the studies. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstitch_local.plotting import BLACK, save

GREY = "#767676"
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.06,
}


def draw(path: Path, size: tuple[float, float], paint: Callable[..., None], widths: Sequence[float] = (1,)) -> None:
    """Create a figure, let `paint` fill its axes, and save it as path.png and path.svg.

    Args:
        path: the files, without suffix.
        size: width and height in inches.
        paint: called with one axes object per width.
        widths: relative widths of the axes, side by side.

    Raises:
        StorageError: a file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        paint(*figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
        save(figure, path)


def strip(axes: Any, x: float, values: Sequence[float], color: str, marker: str) -> None:
    """Draw a box of the quartiles at `x`, with every value as a marker."""
    if not values:
        return
    jitter = np.random.default_rng(0).uniform(-0.16, 0.16, len(values))
    axes.plot(x + jitter, values, marker, color=color, markersize=4, alpha=0.55, markeredgewidth=0, zorder=1)
    axes.boxplot(
        [list(values)], positions=[x], widths=0.46, showfliers=False,
        medianprops={"color": BLACK, "linewidth": 1.8}, boxprops={"color": BLACK}, zorder=2,
    )  # fmt: skip


def band(axes: Any, points: Sequence[tuple[float, Any]], color: str, marker: str, label: str) -> None:
    """Draw a line of (x, (value, interval)) points with the intervals as a band; points that are None are omitted."""
    known = [(x, *point) for x, point in points if point is not None]
    if not known:
        return
    xs = [x for x, _, _ in known]
    axes.plot(xs, [value for _, value, _ in known], marker=marker, color=color, label=label, markersize=4.5)
    low = [interval[0] if interval else value for _, value, interval in known]
    high = [interval[1] if interval else value for _, value, interval in known]
    axes.fill_between(xs, low, high, color=color, alpha=0.18, linewidth=0)
