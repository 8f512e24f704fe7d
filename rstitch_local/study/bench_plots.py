"""A bench in three pictures: accuracy against latency, accuracy against LLM share, latency taken apart.

Knows figures and matplotlib, which it imports when something is drawn. Shapes and direct labels say what colours say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.plotting import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    require_libraries,
    save,
)
from rstitch_local.study.bench_findings import PART_NAMES
from rstitch_local.study.formats import seconds
from rstitch_local.study.label_layout import DOT, Box, place_labels
from rstitch_local.study.router_metrics import BASELINE, TIME_PARTS, RouterMetrics
from rstitch_local.study.statistics import Interval, pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (YELLOW, "X"))
# The two models alone look the same in every picture, whatever else is in it.
_ALONE = {"llm": (BLACK, "*"), "slm": ("#777777", "*")}
_PART_COLOURS = dict(zip(TIME_PARTS, (SKY, BLUE, ORANGE, GREEN, "#BBBBBB"), strict=True))
_PART_HATCHES = dict(zip(TIME_PARTS, ("", "", "///", "...", ""), strict=True))
_GREY = "#666666"
# A wider range of times than this is drawn on a logarithmic axis.
_LOG_FROM = 8


def draw(figures: Sequence[RouterMetrics], out: Path) -> list[Path]:
    """Draw what can be drawn, as PNG and SVG; without gold answers or times some pictures have nothing to show.

    Args:
        figures: of all routers.
        out: the folder, which exists.

    Returns:
        The files, each picture's PNG before its SVG.

    Raises:
        UsageError: matplotlib is not installed.
        StorageError: a file cannot be written.
    """
    require_libraries("matplotlib")
    graded = [own for own in figures if own.accuracy is not None]
    timed = [own for own in graded if own.seconds is not None]
    shared = [own for own in graded if own.llm_share is not None]
    parted = [own for own in figures if own.parts and own.seconds]
    files: list[Path] = []
    if timed:
        files += save(accuracy_against_latency(timed), out / "accuracy-latency")
    if shared:
        files += save(accuracy_against_share(shared), out / "accuracy-share")
    if parted:
        files += save(latency_taken_apart(parted), out / "latency-parts")
    return files


def accuracy_against_latency(figures: Sequence[RouterMetrics]) -> Figure:
    """Points with their intervals, and the line of those no other beats."""
    base = next((own for own in figures if own.router == BASELINE), None)
    longest = max(own.seconds or 0.0 for own in figures)
    unit, name = _unit(longest)

    def reach(own: RouterMetrics) -> Interval | None:
        """The interval of the speed-up, as a time by the LLM's own mean."""
        if own.speed_up_interval is None or base is None or base.seconds is None:
            return None
        low, high = own.speed_up_interval
        return (base.seconds / high * unit, base.seconds / low * unit) if low > 0 else None

    figure, axes = _canvas()
    points = [((own.seconds or 0.0) * unit, own.accuracy or 0.0) for own in figures]
    front = [points[place] for place in pareto(points)]
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=_GREY, linewidth=1, linestyle="--", zorder=1)
    _scatter(axes, figures, points, reach)
    if 0 < min(x for x, _ in points) < longest * unit / _LOG_FROM:
        _log_scale(axes)
        name += ", logarithmic"
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(f"Time per problem, mean ({name})")
    note = "Upwards and to the left is better."
    if len(front) > 1:
        note += " Dashed: through the routers that no other beats in both."
    bars = "Bars: 95 % intervals, of the accuracy (Wilson)"
    if any(reach(own) for own in figures):
        bars += " and of the time against the LLM alone (paired bootstrap)"
    _title(figure, axes, "Accuracy against latency", note, bars + ".")
    return figure


def accuracy_against_share(figures: Sequence[RouterMetrics]) -> Figure:
    """Points with their intervals, by the share of tokens the LLM wrote."""
    figure, axes = _canvas()
    _scatter(axes, figures, [((own.llm_share or 0.0) * 100, own.accuracy or 0.0) for own in figures], lambda _: None)
    axes.set_xlim(-4, 104)
    axes.set_xlabel("Tokens the LLM wrote (%)")
    _title(figure, axes, "Accuracy against LLM share", "Bars: 95 % intervals of the accuracy (Wilson).")
    return figure


def latency_taken_apart(figures: Sequence[RouterMetrics]) -> Figure:
    """A bar a router, from the fastest down, made of what its time goes to."""
    rows = sorted(figures, key=lambda own: own.seconds or 0.0)
    figure, axes = _canvas(height=1.7 + 0.42 * len(rows))
    longest = max(own.seconds or 0.0 for own in rows)
    unit, unit_name = _unit(longest)
    longest *= unit
    places = range(len(rows))
    left = [0.0] * len(rows)
    for name in TIME_PARTS:
        widths = [own.parts[name] * unit for own in rows]
        axes.barh(
            places, widths, left=left, height=0.7, color=_PART_COLOURS[name], hatch=_PART_HATCHES[name],
            edgecolor="white", linewidth=0.6, label=PART_NAMES[name],
        )  # fmt: skip
        for place, (start, width) in enumerate(zip(left, widths, strict=True)):
            # A share inside a segment that is wide enough for it.
            if width > 0.055 * longest:
                share = rows[place].parts[name] / sum(rows[place].parts.values())
                box = {"facecolor": _PART_COLOURS[name], "edgecolor": "none", "pad": 1.0}
                axes.text(
                    start + width / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=8,
                    color="white" if name == "llm_decode" else "black", bbox=box,
                )  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, own in enumerate(rows):
        against = "" if own.router == BASELINE or own.speed_up is None else f", {own.speed_up:.2f}x"
        axes.text(
            left[place] + 0.012 * longest, place, f"{seconds(left[place] / unit)}{against}", va="center",
            fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    axes.set_yticks(list(places), [own.router for own in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(left))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"Time per problem, mean ({unit_name})")
    axes.set_ylabel("Router")
    axes.legend(
        ncols=len(TIME_PARTS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5, handlelength=1.2,
        columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
    axes.set_title("Where the time goes", loc="left", fontweight="bold", fontsize=12, pad=24)
    return figure


def _unit(longest_seconds: float) -> tuple[float, str]:
    """What seconds are multiplied by, and what they are then called."""
    return (1.0, "s") if longest_seconds >= 1 else (1e3, "ms")


def _log_scale(axes: Axes) -> None:
    """A logarithmic x axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lines: list[Any] = list(axes.lines)
    seen = [float(x) for line in lines for x in line.get_xdata()]
    axes.set_xlim(min(seen) / 1.5, max(max(seen) * 1.5, min(high, max(seen) * 2), low))


def _canvas(height: float = 5.0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    # Not pyplot, which would open a screen and keep every figure alive.
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _title(figure: Figure, axes: Axes, title: str, *notes: str) -> None:
    """The title, and under the axes what the marks mean; labels are placed last, for the axes stand still then."""
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12)
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=8, color=_GREY)
    _label(figure, axes)


def _scatter(
    axes: Axes,
    figures: Sequence[RouterMetrics],
    points: Sequence[tuple[float, float]],
    reach: Callable[[RouterMetrics], Interval | None],
) -> None:
    """Mark every point with the colour and the shape of its kind of router, and draw its intervals."""
    from matplotlib.ticker import PercentFormatter

    kinds = dict.fromkeys(_kind(own) for own in figures if own.router not in _ALONE)
    styles = {kind: _STYLES[place % len(_STYLES)] for place, kind in enumerate(kinds)}
    for own, (x, y) in zip(figures, points, strict=True):
        colour, marker = _ALONE.get(own.router) or styles[_kind(own)]
        low, high = own.interval or (y, y)
        across = reach(own)
        axes.errorbar(
            x, y, yerr=[[max(0.0, y - low)], [max(0.0, high - y)]],
            xerr=None if across is None else [[max(0.0, x - across[0])], [max(0.0, across[1] - x)]],
            color=colour, ecolor=colour, elinewidth=1, capsize=2, alpha=0.45, fmt="none", zorder=2,
        )  # fmt: skip
        # The stars are larger and lie beneath, so that a router that does what a model alone does hides none.
        size, height = (15.0, 2.5) if marker == "*" else (7.0, 3.0)
        axes.plot(x, y, marker, color=colour, markersize=size, markeredgecolor="white", zorder=height, gid=own.router)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.set_ylabel("Right answers (%)")
    lows, highs = zip(*(own.interval or (0.0, 1.0) for own in figures), strict=True)
    # Room for labels above and below; the ticks know that there is no share above 1.
    axes.set_ylim(max(-0.08, min(lows) - 0.06), min(1.1, max(highs) + 0.06))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.0001 and _within(tick, axes.get_ylim())])


def _within(value: float, limits: Interval) -> bool:
    return limits[0] <= value <= limits[1]


def _kind(own: RouterMetrics) -> str:
    return own.router.partition(":")[0]


def _label(figure: Figure, axes: Axes) -> None:
    """Write every router's spec beside its point, with a line to it where the label had to go far."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call,unused-ignore]
    figure.draw(renderer)
    marked: list[Any] = [line for line in axes.lines if line.get_gid()]
    texts = []
    for line in marked:
        text = axes.annotate(
            line.get_gid() or "", line.get_xydata()[0], (0, 0), textcoords="offset points", fontsize=8.5,
            annotation_clip=False, color=line.get_color(), zorder=4,
        )  # fmt: skip
        text.set_path_effects(_halo())
        texts.append(text)
    spots = [tuple(axes.transData.transform(line.get_xydata()[0])) for line in marked]
    extents = [text.get_window_extent(renderer) for text in texts]
    scale = figure.dpi / 72
    sizes = [(extent.width, extent.height) for extent in extents]
    frame = Box(*axes.get_window_extent(renderer).extents)
    places = place_labels(spots, sizes, frame, _dots(axes), scale)
    for line, text, extent, spot, place in zip(marked, texts, extents, spots, places, strict=True):
        box = place.box
        middle = (box.left + box.right - extent.width) / 2, (box.bottom + box.top - extent.height) / 2
        text.set_position(((middle[0] - extent.x0) / scale, (middle[1] - extent.y0) / scale))
        if place.far:
            ends = axes.transData.inverted().transform(np.array([spot, box.nearest(spot)]))
            axes.plot(ends[:, 0], ends[:, 1], color=line.get_color(), linewidth=0.7, zorder=1)


def _dots(axes: Axes) -> Any:
    """The error bars and the dashed line as dots in pixels: an array of shape (dots, 2)."""
    import numpy as np

    collections: list[Any] = list(axes.collections)
    chains = [segment for bars in collections for segment in bars.get_segments()]
    for line in axes.lines:
        if line.get_linestyle() == "--":
            corners = np.asarray(line.get_xydata())
            chains += [corners[place : place + 2] for place in range(len(corners) - 1)]
    dots = [np.empty((0, 2))]
    for chain in chains:
        start, end = axes.transData.transform(chain)
        dots.append(np.linspace(start, end, max(1, int(np.hypot(*(end - start)) / DOT)) + 1))
    return np.concatenate(dots)


def _halo() -> Any:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]
