"""Plots of a training: reward, accuracy, LLM share, latency, clipped share, dropped groups.

matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstitch_local.plotting import BLUE, VERMILION, save

_PANELS = (
    ("reward", "Reward", 1.0),
    ("accuracy", "Accuracy (%)", 100.0),
    ("llm_share", "Tokens of the LLM (%)", 100.0),
    ("latency_ms", "Modeled latency (ms)", 1.0),
    ("clipped", "Clipped (%)", 100.0),
    ("dropped", "Dropped groups (%)", 100.0),
)


def draw_training(history: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the metrics of the steps and of the validations.

    Args:
        history: `Training.history`.
        stem: path without a suffix; writes stem.png and stem.svg.

    Raises:
        StorageError: a file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (name, title, scale) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        steps = [record for record in history if name in record]
        validations = [record for record in history if name in record.get("validation", ())]
        values = [record[name] * scale for record in steps]
        axes.plot([record["step"] for record in steps], values, color=BLUE, linewidth=1, label="steps")
        if validations:
            x = [record["step"] for record in validations]
            y = [record["validation"][name] * scale for record in validations]
            axes.plot(x, y, color=VERMILION, marker="o", markersize=3, label="validation")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("Step", fontsize=8)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    save(figure, stem)
