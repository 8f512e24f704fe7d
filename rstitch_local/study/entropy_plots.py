"""The figures of both studies, as PNG and SVG.

Knows what is drawn and how; nothing of how a number came about. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rstitch_local.plotting import BLACK, BLUE, SKY, VERMILION, save
from rstitch_local.study.formats import p_value

if TYPE_CHECKING:
    from rstitch_local.study.agreement import AgreementMetrics
    from rstitch_local.study.entropy_metrics import Figures, WindowEntropy
    from rstitch_local.study.statistics import Area

GREY = "#767676"
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
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


def _draw(path: Path, size: tuple[float, float], paint: Callable[..., None], widths: Sequence[float] = (1,)) -> None:
    """Have `paint` fill the axes of a new figure (inches), side by side, and save it as path.png and path.svg."""
    # Imported here: only a study needs it.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        paint(*figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
        save(figure, path)


def _normalised_axis(axes: Any, log_vocabulary: float, *, of: str, label: str) -> None:
    """The second axis, on the other side: nats divided by ln V."""
    functions = (lambda nats: nats / log_vocabulary, lambda normalised: normalised * log_vocabulary)
    if of == "x":
        axes.secondary_xaxis("top", functions=functions).set_xlabel(label)
    else:
        axes.secondary_yaxis("right", functions=functions).set_ylabel(label)


def draw_histogram(figures: Figures, path: Path) -> None:
    """Token entropies on a logarithmic axis, in both units, with the paper's cut and the pair's tau."""
    from rstitch_local.study.entropy_metrics import SURE_NATS

    def paint(axes: Any) -> None:
        edges = [figures.bins[0].low, *(one.high for one in figures.bins)]
        shares = [100 * one.tokens / figures.tokens for one in figures.bins]
        axes.stairs(shares, edges, fill=True, color=SKY)
        axes.stairs(shares, edges, color=BLUE, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        top = 1.28 * max(shares)
        axes.set_ylim(0, top)
        axes.set_xlabel("token entropy of the SLM (nats)")
        axes.set_ylabel(f"share of {figures.tokens:,} tokens (%)")
        tau_nats = figures.tau * figures.log_vocabulary
        axes.axvline(SURE_NATS, color=VERMILION, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{figures.sure_share:.1%} at or below {SURE_NATS} nats",
            (SURE_NATS, 0.98 * top), (-5, 0), textcoords="offset points", ha="right", va="top", color=VERMILION,
            bbox=_PLATE,
        )  # fmt: skip
        if edges[0] < tau_nats < edges[-1]:
            axes.axvline(tau_nats, color=BLACK, linestyle=":", linewidth=1.2)
            axes.annotate(
                f"tau = {figures.tau:g}",
                (tau_nats, 0.90 * top), (-5, 0), textcoords="offset points", ha="right", va="top",
                bbox=_PLATE,
            )  # fmt: skip
        _normalised_axis(axes, figures.log_vocabulary, of="x", label="token entropy, normalised (nats / ln V)")

    _draw(path, (6.4, 3.8), paint)


def _strip(axes: Any, place: float, values: Sequence[float], colour: str, marker: str) -> None:
    """A box of the quartiles with every value beside it."""
    if not values:
        return
    spread = np.random.default_rng(0).uniform(-0.16, 0.16, len(values))
    axes.plot(place + spread, values, marker, color=colour, markersize=4, alpha=0.55, markeredgewidth=0, zorder=1)
    axes.boxplot(
        [list(values)], positions=[place], widths=0.46, showfliers=False,
        medianprops={"color": BLACK, "linewidth": 1.8}, boxprops={"color": BLACK}, zorder=2,
    )  # fmt: skip


def draw_right_and_wrong(figures: Figures, path: Path) -> None:
    """Mean entropy of each answer, right and wrong."""

    def paint(axes: Any) -> None:
        compared = figures.compared
        _strip(axes, 1, compared.right, BLUE, "o")
        _strip(axes, 2, compared.wrong, VERMILION, "^")
        axes.set_xticks([1, 2], [f"right\n({len(compared.right)} answers)", f"wrong\n({len(compared.wrong)} answers)"])
        axes.set_xlim(0.5, 2.5)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("the SLM's answer is")
        axes.set_ylabel("mean token entropy of the answer (nats)")
        if compared.test is not None:
            axes.set_title(f"Mann-Whitney U, two-sided: p {p_value(compared.test.p)} ({compared.test.method})")
        _normalised_axis(axes, figures.log_vocabulary, of="y", label="normalised (nats / ln V)")

    _draw(path, (5.2, 4.2), paint)


def _band(axes: Any, points: Sequence[tuple[float, Any]], colour: str, marker: str, label: str) -> None:
    """A line of (x, (value, interval)) with its intervals as a band; points without a value are left out."""
    known = [(x, value, interval) for x, point in points if point is not None for value, interval in [point]]
    if not known:
        return
    places = [x for x, _, _ in known]
    axes.plot(places, [value for _, value, _ in known], marker=marker, color=colour, label=label, markersize=4.5)
    low = [interval[0] if interval else value for _, value, interval in known]
    high = [interval[1] if interval else value for _, value, interval in known]
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def draw_before_harm(figures: Figures, path: Path) -> None:
    """Entropy over the tokens before the harmful one against other places, by window; and at the token itself."""

    def paint(own: Any, before: Any) -> None:
        def points(windows: Sequence[WindowEntropy], name: str) -> list[tuple[float, Any]]:
            return [(window.window, getattr(window, name)) for window in windows]

        for place, name, colour, marker in ((1, "harmful", VERMILION, "^"), (2, "other", BLUE, "o")):
            value, interval = getattr(figures.own, name)
            low, high = interval or (value, value)
            own.errorbar(place, value, [[value - low], [high - value]], fmt=marker, color=colour, capsize=4)
        own.set_xticks([1, 2], ["harmful\ntoken", "other\ntokens"])
        own.set_xlim(0.5, 2.5)
        own.set_ylim(bottom=0)
        own.grid(visible=False, axis="x")
        own.set_ylabel("mean token entropy (nats)")
        own.set_title("at the token itself")
        _normalised_axis(own, figures.log_vocabulary, of="y", label="normalised (nats / ln V)")
        _band(before, points(figures.windows, "harmful"), VERMILION, "^", "before the harmful token")
        _band(before, points(figures.windows, "other"), BLUE, "o", "before other tokens of these answers")
        if figures.mean_nats is not None:
            before.axhline(figures.mean_nats, color=GREY, linestyle=":", label="mean of all tokens")
        before.set_xticks([1, 2, 4, 8, 12, 16])
        before.set_xlabel("window (tokens before it)")
        before.set_ylabel("mean entropy over the window (nats)")
        before.set_ylim(0, 1.3 * before.get_ylim()[1])
        before.set_title("in the tokens before it")
        before.legend(loc="upper right", fontsize=9)
        _normalised_axis(before, figures.log_vocabulary, of="y", label="normalised (nats / ln V)")

    if figures.own.harmful is not None and figures.own.other is not None:
        _draw(path, (9.6, 4.2), paint, widths=(1, 2))


def draw_prediction(figures: Figures, path: Path) -> None:
    """How well entropy predicts: areas under the ROC curve by window, and disagreement by entropy."""

    def paint(areas: Any, calibration: Any) -> None:
        from rstitch_local.study.entropy_metrics import WINDOWS

        def points(found: Sequence[Area | None]) -> list[tuple[float, Any]]:
            return [(float(window), area) for window, area in zip(WINDOWS, found, strict=True)]

        _band(areas, points(figures.harm_areas), VERMILION, "^", "the harmful token")
        _band(areas, points(figures.disagreement_areas), BLUE, "o", "disagreement of the LLM")
        areas.axhline(0.5, color=GREY, linestyle=":", label="chance")
        areas.set_xticks([1, 2, 4, 8, 12, 16])
        areas.set_ylim(min(0.4, areas.get_ylim()[0]), 1.0)
        areas.set_xlabel("window (tokens, up to the one predicted)")
        areas.set_ylabel("area under the ROC curve")
        areas.set_title("mean entropy over a window as predictor of ...")
        areas.legend(loc="best", fontsize=9)
        shown = [one for one in figures.bins if one.read >= 5]
        middles = [float(np.sqrt(one.low * one.high)) for one in shown]
        known = [one.disagreement or (0.0, (0.0, 0.0)) for one in shown]
        shares = [100 * share for share, _ in known]
        errors = [
            [100 * (share - low) for share, (low, _) in known],
            [100 * (high - share) for share, (_, high) in known],
        ]
        calibration.errorbar(middles, shares, errors, fmt="o-", color=BLUE, capsize=2, markersize=4, linewidth=1)
        calibration.set_xscale("log")
        calibration.set_ylim(0, None)
        calibration.set_xlabel("token entropy of the SLM (nats)")
        calibration.set_ylabel("tokens the LLM would not have written (%)")
        _normalised_axis(calibration, figures.log_vocabulary, of="x", label="normalised (nats / ln V)")

    _draw(path, (9.6, 4.4), paint, widths=(1, 1))


def draw_agreement(figures: AgreementMetrics, path: Path) -> None:
    """Each problem's agreement and its speed-up by speculative decoding at the best draft length."""

    def paint(axes: Any) -> None:
        best = figures.best or 0
        for verdict, colour, marker, name in (
            (True, BLUE, "o", "LLM's answer right"),
            (False, VERMILION, "^", "LLM's answer wrong"),
            (None, GREY, "s", "no gold answer"),
        ):
            points = [
                (100 * problem.agreement, problem.speed_ups[best])
                for problem in figures.problems
                if problem.llm_correct is verdict and problem.agreement is not None and best in problem.speed_ups
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker, color=colour, alpha=0.65, markeredgewidth=0, label=name)
        axes.axhline(1.0, color=BLACK, linewidth=1, label="as fast as the LLM alone")
        if figures.agreement is not None:
            axes.axvline(100 * figures.agreement, color=GREY, linestyle=":", label="agreement over all tokens")
        axes.set_xlabel("tokens of the LLM's answer the SLM would also write (%)")
        axes.set_ylabel(f"computed speed-up by drafts of {best} (times)")
        axes.legend(loc="best", fontsize=9, frameon=True, framealpha=0.9, edgecolor="none")

    if figures.best is not None:
        _draw(path, (6.4, 4.2), paint)


def draw_lengths(figures: AgreementMetrics, path: Path) -> None:
    """Lengths of both models' answers, right and wrong."""

    def paint(axes: Any) -> None:
        names, place = [], 0
        for model in ("slm", "llm"):
            for verdict, colour, marker in ((True, BLUE, "o"), (False, VERMILION, "^"), (None, GREY, "s")):
                lengths = [
                    getattr(problem, f"{model}_tokens")
                    for problem in figures.problems
                    if getattr(problem, f"{model}_correct") is verdict
                ]
                if not lengths and verdict is None:
                    continue
                place += 1
                _strip(axes, place, lengths, colour, marker)
                word = {True: "right", False: "wrong", None: "no gold"}[verdict]
                names.append(f"{model.upper()}\n{word}\n({len(lengths)})")
        axes.set_xticks(range(1, place + 1), names)
        axes.set_xlim(0.4, place + 0.6)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("whose answer, its verdict (number of answers)")
        axes.set_ylabel("length of the answer (tokens)")

    _draw(path, (5.6, 4.2), paint)
