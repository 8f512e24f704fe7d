"""Plots of the agreement study, as PNG and SVG. Independent of how the metrics are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstitch_local.plotting import BLACK, BLUE, VERMILION
from rstitch_local.study.agreement import AgreementMetrics
from rstitch_local.study.study_plots import GREY, draw, strip

_VERDICTS: tuple[tuple[bool | None, str, str, str], ...] = (
    (True, BLUE, "o", "right"),
    (False, VERMILION, "^", "wrong"),
    (None, GREY, "s", "no gold answer"),
)


def draw_speed_up(metrics: AgreementMetrics, path: Path) -> None:
    """Draw each problem's agreement and its computed speed-up at the best draft length."""
    if metrics.best is None:
        return
    best = metrics.best

    def paint(axes: Any) -> None:
        for verdict, color, marker, name in _VERDICTS:
            points = [
                (100 * problem.agreement, problem.speed_ups[best])
                for problem in metrics.problems
                if problem.llm_correct is verdict and problem.agreement is not None and best in problem.speed_ups
            ]
            if points:
                label = name if verdict is None else f"LLM answer {name}"
                axes.plot(*zip(*points, strict=True), marker, color=color, alpha=0.65, markeredgewidth=0, label=label)
        axes.axhline(1.0, color=BLACK, linewidth=1, label="speed of the LLM alone")
        if metrics.agreement is not None:
            axes.axvline(100 * metrics.agreement, color=GREY, linestyle=":", label="agreement over all tokens")
        axes.set_xlabel("agreement of the SLM with the LLM's answer (% of tokens)")
        axes.set_ylabel(f"computed speed-up with drafts of {best} tokens (ratio)")
        axes.legend(loc="best", fontsize=9, frameon=True, framealpha=0.9, edgecolor="none")

    draw(path, (6.4, 4.2), paint)


def draw_lengths(metrics: AgreementMetrics, path: Path) -> None:
    """Draw the lengths of both models' answers, right and wrong."""

    def paint(axes: Any) -> None:
        labels: list[str] = []
        for model in ("slm", "llm"):
            for verdict, color, marker, name in _VERDICTS:
                lengths = [
                    getattr(problem, f"{model}_tokens")
                    for problem in metrics.problems
                    if getattr(problem, f"{model}_correct") is verdict
                ]
                if lengths or verdict is not None:
                    labels.append(f"{model.upper()}\n{name.removesuffix(' answer')}\n({len(lengths)})")
                    strip(axes, len(labels), lengths, color, marker)
        axes.set_xticks(range(1, len(labels) + 1), labels)
        axes.set_xlim(0.4, len(labels) + 0.6)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("model, verdict (number of answers)")
        axes.set_ylabel("answer length (tokens)")

    draw(path, (5.6, 4.2), paint)
