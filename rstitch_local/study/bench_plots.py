"""Plots of a bench: accuracy against latency, accuracy against LLM share, and time by part.

matplotlib is imported when something is drawn. Marker shapes and direct labels repeat the information of the colors.
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
from rstitch_local.study.label_layout import DOT_SPACING, Box, place_labels
from rstitch_local.study.router_metrics import BASELINE, TIME_PARTS, RouterMetrics
from rstitch_local.study.statistics import Interval, pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (YELLOW, "X"))
# The two models alone have the same style in every plot.
_SINGLE_MODELS = {"llm": (BLACK, "*"), "slm": ("#777777", "*")}
_PART_COLORS = dict(zip(TIME_PARTS, (SKY, BLUE, ORANGE, GREEN, "#BBBBBB"), strict=True))
_PART_HATCHES = dict(zip(TIME_PARTS, ("", "", "///", "...", ""), strict=True))
_GREY = "#666666"
# From this ratio of the longest to the shortest time on, the time axis is logarithmic.
_LOG_FROM = 8
# Segments of at least this share of the longest bar show their percentage.
_LABELED_WIDTH = 0.055


def draw(results: Sequence[RouterMetrics], out: Path) -> list[Path]:
    """Draw the plots for which there are data, as PNG and SVG; accuracy needs gold answers.

    Args:
        results: metrics of all routers.
        out: an existing folder.

    Returns:
        The files, the PNG of each plot before its SVG.

    Raises:
        UsageError: matplotlib is not installed.
        StorageError: a file cannot be written.
    """
    require_libraries("matplotlib")
    graded = [result for result in results if result.accuracy is not None]
    timed = [result for result in graded if result.seconds is not None]
    with_share = [result for result in graded if result.llm_share is not None]
    with_parts = [result for result in results if result.parts and result.seconds]
    files: list[Path] = []
    if timed:
        files += save(accuracy_against_latency(timed), out / "accuracy-latency")
    if with_share:
        files += save(accuracy_against_share(with_share), out / "accuracy-share")
    if with_parts:
        files += save(time_by_part(with_parts), out / "latency-parts")
    return files


def accuracy_against_latency(results: Sequence[RouterMetrics]) -> Figure:
    """Draw accuracy against time per problem, with intervals and the Pareto front."""
    baseline = next((result for result in results if result.router == BASELINE), None)
    longest = max(result.seconds or 0.0 for result in results)
    unit, unit_name = _unit(longest)

    def time_interval(result: RouterMetrics) -> Interval | None:
        """Return the speed-up interval as times relative to the baseline's mean."""
        if result.speed_up_interval is None or baseline is None or baseline.seconds is None:
            return None
        low, high = result.speed_up_interval
        return (baseline.seconds / high * unit, baseline.seconds / low * unit) if low > 0 else None

    figure, axes = _canvas()
    points = [((result.seconds or 0.0) * unit, result.accuracy or 0.0) for result in results]
    front = [points[index] for index in pareto(points)]
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=_GREY, linewidth=1, linestyle="--", zorder=1)
    _scatter(axes, results, points, time_interval)
    if 0 < min(x for x, _ in points) < longest * unit / _LOG_FROM:
        _log_scale(axes)
        unit_name += ", logarithmic"
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(f"Mean time per problem ({unit_name})")
    note = "Better: up and to the left."
    if len(front) > 1:
        note += " Dashed line: Pareto front."
    intervals = "Bars: 95 % intervals of the accuracy (Wilson)"
    if any(time_interval(result) for result in results):
        intervals += " and of the time relative to the LLM alone (paired bootstrap)"
    _title(figure, axes, "Accuracy against latency", note, intervals + ".")
    return figure


def accuracy_against_share(results: Sequence[RouterMetrics]) -> Figure:
    """Draw accuracy against the LLM's share of tokens, with intervals."""
    figure, axes = _canvas()
    points = [((result.llm_share or 0.0) * 100, result.accuracy or 0.0) for result in results]
    _scatter(axes, results, points, lambda _: None)
    axes.set_xlim(-4, 104)
    axes.set_xlabel("LLM share of tokens (%)")
    _title(figure, axes, "Accuracy against LLM share", "Bars: 95 % intervals of the accuracy (Wilson).")
    return figure


def time_by_part(results: Sequence[RouterMetrics]) -> Figure:
    """Draw a stacked bar per router, fastest first, of the parts of its time."""
    rows = sorted(results, key=lambda result: result.seconds or 0.0)
    figure, axes = _canvas(height=1.7 + 0.42 * len(rows))
    longest = max(result.seconds or 0.0 for result in rows)
    unit, unit_name = _unit(longest)
    ends = _stack_parts(axes, rows, unit, longest * unit)
    for index, result in enumerate(rows):
        speed_up = "" if result.router == BASELINE or result.speed_up is None else f", {result.speed_up:.2f}x"
        axes.text(
            ends[index] + 0.012 * longest * unit, index, f"{seconds(ends[index] / unit)}{speed_up}", va="center",
            fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [result.router for result in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(ends))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"Mean time per problem ({unit_name})")
    axes.set_ylabel("Router")
    axes.legend(
        ncols=len(TIME_PARTS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5, handlelength=1.2,
        columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
    axes.set_title("Time per problem by part", loc="left", fontweight="bold", fontsize=12, pad=24)
    return figure


def _stack_parts(axes: Axes, rows: Sequence[RouterMetrics], unit: float, longest: float) -> list[float]:
    """Draw the bars, with percentages in the segments that are wide enough; return the end of each bar."""
    ends = [0.0] * len(rows)
    for name in TIME_PARTS:
        color = _PART_COLORS[name]
        widths = [result.parts[name] * unit for result in rows]
        axes.barh(
            range(len(rows)), widths, left=ends, height=0.7, color=color, hatch=_PART_HATCHES[name],
            edgecolor="white", linewidth=0.6, label=PART_NAMES[name],
        )  # fmt: skip
        for index, (start, width) in enumerate(zip(ends, widths, strict=True)):
            if width > _LABELED_WIDTH * longest:
                share = rows[index].parts[name] / sum(rows[index].parts.values())
                axes.text(
                    start + width / 2, index, f"{share:.0%}", ha="center", va="center", fontsize=8,
                    color="white" if name == "llm_decode" else "black",
                    bbox={"facecolor": color, "edgecolor": "none", "pad": 1.0},
                )  # fmt: skip
        ends = [start + width for start, width in zip(ends, widths, strict=True)]
    return ends


def _unit(longest_seconds: float) -> tuple[float, str]:
    """Return the factor that converts seconds to the unit of an axis, and the name of the unit."""
    return (1.0, "s") if longest_seconds >= 1 else (1e3, "ms")


def _log_scale(axes: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers as tick labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lines: list[Any] = list(axes.lines)
    values = [float(x) for line in lines for x in line.get_xdata()]
    axes.set_xlim(min(values) / 1.5, max(max(values) * 1.5, min(high, max(values) * 2), low))


def _canvas(height: float = 5.0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    # Not pyplot: it would select a display backend and keep every figure in memory.
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _title(figure: Figure, axes: Axes, title: str, *notes: str) -> None:
    """Set the title and the notes below the axes, then place the labels, which needs the final size of the axes."""
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12)
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=8, color=_GREY)
    _label(figure, axes)


def _scatter(
    axes: Axes,
    results: Sequence[RouterMetrics],
    points: Sequence[tuple[float, float]],
    x_interval: Callable[[RouterMetrics], Interval | None],
) -> None:
    """Draw every point with the color and marker of its kind of router, and its intervals."""
    from matplotlib.ticker import PercentFormatter

    kinds = dict.fromkeys(_kind(result) for result in results if result.router not in _SINGLE_MODELS)
    styles = {kind: _STYLES[index % len(_STYLES)] for index, kind in enumerate(kinds)}
    for result, (x, y) in zip(results, points, strict=True):
        color, marker = _SINGLE_MODELS.get(result.router) or styles[_kind(result)]
        low, high = result.interval or (y, y)
        x_bounds = x_interval(result)
        axes.errorbar(
            x, y, yerr=[[max(0.0, y - low)], [max(0.0, high - y)]],
            xerr=None if x_bounds is None else [[max(0.0, x - x_bounds[0])], [max(0.0, x_bounds[1] - x)]],
            color=color, ecolor=color, elinewidth=1, capsize=2, alpha=0.45, fmt="none", zorder=2,
        )  # fmt: skip
        # The stars are larger and drawn first, so that they do not hide a router at the same point.
        size, zorder = (15.0, 2.5) if marker == "*" else (7.0, 3.0)
        axes.plot(x, y, marker, color=color, markersize=size, markeredgecolor="white", zorder=zorder, gid=result.router)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.set_ylabel("Accuracy (%)")
    lows, highs = zip(*(result.interval or (0.0, 1.0) for result in results), strict=True)
    # Leave space for labels above 100 % and below 0 %, but no ticks.
    axes.set_ylim(max(-0.08, min(lows) - 0.06), min(1.1, max(highs) + 0.06))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.0001 and _within(tick, axes.get_ylim())])


def _within(value: float, limits: Interval) -> bool:
    return limits[0] <= value <= limits[1]


def _kind(result: RouterMetrics) -> str:
    return result.router.partition(":")[0]


def _label(figure: Figure, axes: Axes) -> None:
    """Write every router's spec beside its point, with a line to it if the label is far away."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer: Any = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call,unused-ignore]
    figure.draw(renderer)
    marks: list[Any] = [line for line in axes.lines if line.get_gid()]
    texts = []
    for line in marks:
        text = axes.annotate(
            line.get_gid() or "", line.get_xydata()[0], (0, 0), textcoords="offset points", fontsize=8.5,
            annotation_clip=False, color=line.get_color(), zorder=4,
        )  # fmt: skip
        text.set_path_effects(_halo())
        texts.append(text)
    pixels = [tuple(axes.transData.transform(line.get_xydata()[0])) for line in marks]
    extents = [text.get_window_extent(renderer) for text in texts]
    scale = figure.dpi / 72
    sizes = [(extent.width, extent.height) for extent in extents]
    frame = Box(*axes.get_window_extent(renderer).extents)
    labels = place_labels(pixels, sizes, frame, _line_dots(axes), scale)
    for line, text, extent, pixel, label in zip(marks, texts, extents, pixels, labels, strict=True):
        box = label.box
        x, y = (box.left + box.right - extent.width) / 2, (box.bottom + box.top - extent.height) / 2
        text.set_position(((x - extent.x0) / scale, (y - extent.y0) / scale))
        if label.is_far:
            ends = axes.transData.inverted().transform(np.array([pixel, box.nearest(pixel)]))
            axes.plot(ends[:, 0], ends[:, 1], color=line.get_color(), linewidth=0.7, zorder=1)


def _line_dots(axes: Axes) -> Any:
    """Return points along the error bars and the Pareto front in pixels: an array of shape (points, 2)."""
    import numpy as np

    collections: list[Any] = list(axes.collections)
    segments = [segment for bars in collections for segment in bars.get_segments()]
    for line in axes.lines:
        if line.get_linestyle() == "--":
            corners = np.asarray(line.get_xydata())
            segments += [corners[index : index + 2] for index in range(len(corners) - 1)]
    dots = [np.empty((0, 2))]
    for segment in segments:
        start, end = axes.transData.transform(segment)
        dots.append(np.linspace(start, end, max(1, int(np.hypot(*(end - start)) / DOT_SPACING)) + 1))
    return np.concatenate(dots)


def _halo() -> Any:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]
