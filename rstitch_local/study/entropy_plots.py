"""Plots of the entropy study, as PNG and SVG. Independent of how the metrics are computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rstitch_local.plotting import BLACK, BLUE, SKY, VERMILION
from rstitch_local.study.entropy_metrics import LOW_ENTROPY_NATS, EntropyMetrics
from rstitch_local.study.formats import p_value
from rstitch_local.study.statistics import Area
from rstitch_local.study.study_plots import GREY, LABEL_BOX, band, draw, strip
from rstitch_local.study.token_windows import WINDOWS, WindowEntropy

_WINDOW_TICKS = [1, 2, 4, 8, 12, 16]
_MIN_TOKENS_PER_BIN = 5


def draw_all(metrics: EntropyMetrics, out: Path) -> None:
    """Draw all plots into a folder; raises StorageError."""
    draw_histogram(metrics, out / "entropy_histogram")
    draw_right_and_wrong(metrics, out / "entropy_right_wrong")
    draw_before_harm(metrics, out / "entropy_before_harm")
    draw_prediction(metrics, out / "entropy_prediction")


def _normalized_axis(axes: Any, log_vocabulary: float, *, of: str, label: str) -> None:
    """Add a secondary axis with normalized entropies: nats divided by ln V."""
    functions = (lambda nats: nats / log_vocabulary, lambda normalized: normalized * log_vocabulary)
    if of == "x":
        axes.secondary_xaxis("top", functions=functions).set_xlabel(label)
    else:
        axes.secondary_yaxis("right", functions=functions).set_ylabel(label)


def draw_histogram(metrics: EntropyMetrics, path: Path) -> None:
    """Draw a histogram of token entropies on a logarithmic axis, with the paper's boundary and the pair's tau."""

    def paint(axes: Any) -> None:
        edges = [metrics.bins[0].low, *(one.high for one in metrics.bins)]
        percents = [100 * one.tokens / metrics.tokens for one in metrics.bins]
        axes.stairs(percents, edges, fill=True, color=SKY)
        axes.stairs(percents, edges, color=BLUE, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        top = 1.28 * max(percents)
        axes.set_ylim(0, top)
        axes.set_xlabel("SLM token entropy (nats)")
        axes.set_ylabel(f"share of {metrics.tokens:,} tokens (%)")
        tau_nats = metrics.tau * metrics.log_vocabulary
        axes.axvline(LOW_ENTROPY_NATS, color=VERMILION, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{metrics.low_entropy_share:.1%} at or below {LOW_ENTROPY_NATS} nats",
            (LOW_ENTROPY_NATS, 0.98 * top), (-5, 0), textcoords="offset points", ha="right", va="top",
            color=VERMILION, bbox=LABEL_BOX,
        )  # fmt: skip
        if edges[0] < tau_nats < edges[-1]:
            axes.axvline(tau_nats, color=BLACK, linestyle=":", linewidth=1.2)
            axes.annotate(
                f"tau = {metrics.tau:g}",
                (tau_nats, 0.90 * top), (-5, 0), textcoords="offset points", ha="right", va="top",
                bbox=LABEL_BOX,
            )  # fmt: skip
        _normalized_axis(axes, metrics.log_vocabulary, of="x", label="normalized entropy (nats / ln V)")

    draw(path, (6.4, 3.8), paint)


def draw_right_and_wrong(metrics: EntropyMetrics, path: Path) -> None:
    """Draw the mean entropy of each answer, right and wrong."""

    def paint(axes: Any) -> None:
        comparison = metrics.comparison
        strip(axes, 1, comparison.right, BLUE, "o")
        strip(axes, 2, comparison.wrong, VERMILION, "^")
        counts = len(comparison.right), len(comparison.wrong)
        axes.set_xticks([1, 2], [f"right\n({counts[0]} answers)", f"wrong\n({counts[1]} answers)"])
        axes.set_xlim(0.5, 2.5)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("SLM answer")
        axes.set_ylabel("mean token entropy per answer (nats)")
        if comparison.test is not None:
            p, method = p_value(comparison.test.p), comparison.test.method
            axes.set_title(f"Mann-Whitney U, two-sided: p {p} ({method})")
        _normalized_axis(axes, metrics.log_vocabulary, of="y", label="normalized (nats / ln V)")

    draw(path, (5.2, 4.2), paint)


def draw_before_harm(metrics: EntropyMetrics, path: Path) -> None:
    """Draw the entropy at the harmful token and, by window, before it, each against other tokens of the answers."""

    def paint_token(axes: Any) -> None:
        for x, name, color, marker in ((1, "harmful", VERMILION, "^"), (2, "other", BLUE, "o")):
            value, interval = getattr(metrics.at_token, name)
            low, high = interval or (value, value)
            axes.errorbar(x, value, [[value - low], [high - value]], fmt=marker, color=color, capsize=4)
        axes.set_xticks([1, 2], ["harmful\ntoken", "other\ntokens"])
        axes.set_xlim(0.5, 2.5)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("mean token entropy (nats)")
        axes.set_title("At the token")
        _normalized_axis(axes, metrics.log_vocabulary, of="y", label="normalized (nats / ln V)")

    def paint_windows(axes: Any) -> None:
        def points(windows: Sequence[WindowEntropy], name: str) -> list[tuple[float, Any]]:
            return [(window.window, getattr(window, name)) for window in windows]

        band(axes, points(metrics.windows, "harmful"), VERMILION, "^", "before the harmful token")
        band(axes, points(metrics.windows, "other"), BLUE, "o", "before other tokens of these answers")
        if metrics.mean_nats is not None:
            axes.axhline(metrics.mean_nats, color=GREY, linestyle=":", label="mean of all tokens")
        axes.set_xticks(_WINDOW_TICKS)
        axes.set_xlabel("window (tokens before it)")
        axes.set_ylabel("mean entropy in the window (nats)")
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
        axes.set_title("Before the token")
        axes.legend(loc="upper right", fontsize=9)
        _normalized_axis(axes, metrics.log_vocabulary, of="y", label="normalized (nats / ln V)")

    def paint(token_axes: Any, window_axes: Any) -> None:
        paint_token(token_axes)
        paint_windows(window_axes)

    if metrics.at_token.harmful is not None and metrics.at_token.other is not None:
        draw(path, (9.6, 4.2), paint, widths=(1, 2))


def draw_prediction(metrics: EntropyMetrics, path: Path) -> None:
    """Draw the ROC areas by window, and the share of disagreements by entropy."""

    def paint(area_axes: Any, disagreement_axes: Any) -> None:
        _paint_areas(area_axes, metrics)
        _paint_disagreement(disagreement_axes, metrics)

    draw(path, (9.6, 4.4), paint, widths=(1, 1))


def _paint_areas(axes: Any, metrics: EntropyMetrics) -> None:
    def points(areas: Sequence[Area | None]) -> list[tuple[float, Any]]:
        return [(float(window), area) for window, area in zip(WINDOWS, areas, strict=True)]

    band(axes, points(metrics.harm_areas), VERMILION, "^", "harmful token")
    band(axes, points(metrics.disagreement_areas), BLUE, "o", "disagreement of the LLM")
    axes.axhline(0.5, color=GREY, linestyle=":", label="chance")
    axes.set_xticks(_WINDOW_TICKS)
    axes.set_ylim(min(0.4, axes.get_ylim()[0]), 1.0)
    axes.set_xlabel("window (tokens up to and including the predicted one)")
    axes.set_ylabel("area under the ROC curve")
    axes.set_title("Mean entropy in a window as predictor")
    axes.legend(loc="best", fontsize=9)


def _paint_disagreement(axes: Any, metrics: EntropyMetrics) -> None:
    bins = [one for one in metrics.bins if one.scored >= _MIN_TOKENS_PER_BIN]
    centers = [float(np.sqrt(one.low * one.high)) for one in bins]
    known = [one.disagreement or (0.0, (0.0, 0.0)) for one in bins]
    percents = [100 * share for share, _ in known]
    errors = [
        [100 * (share - low) for share, (low, _) in known],
        [100 * (high - share) for share, (_, high) in known],
    ]
    axes.errorbar(centers, percents, errors, fmt="o-", color=BLUE, capsize=2, markersize=4, linewidth=1)
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    axes.set_xlabel("SLM token entropy (nats)")
    axes.set_ylabel("tokens the LLM disagrees with (%)")
    _normalized_axis(axes, metrics.log_vocabulary, of="x", label="normalized (nats / ln V)")
