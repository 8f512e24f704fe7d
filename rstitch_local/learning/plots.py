"""A training in one picture: reward, accuracy, LLM share, latency, clipped share, dropped groups.

Knows the records of a training and matplotlib, which it imports when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rstitch_local.plotting import BLUE, VERMILION, save

_PANELS = (
    ("reward", "Reward", 1.0),
    ("accuracy", "Accuracy (%)", 100.0),
    ("llm_share", "Tokens the LLM wrote (%)", 100.0),
    ("latency_ms", "Modelled latency (ms)", 1.0),
    ("clipped", "Clipped (%)", 100.0),
    ("dropped", "Dropped groups (%)", 100.0),
)


def draw_training(history: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the records of a training, of its exploring and of its looks at the validation problems.

    Args:
        history: `Training.history`.
        stem: the files' path without their suffix; there will be stem.png and stem.svg.

    Raises:
        StorageError: it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (name, title, unit) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        steps = [record for record in history if name in record]
        looks = [record for record in history if name in record.get("validation", ())]
        axes.plot([r["step"] for r in steps], [r[name] * unit for r in steps], color=BLUE, linewidth=1, label="steps")
        if looks:
            values = [r["validation"][name] * unit for r in looks]
            axes.plot([r["step"] for r in looks], values, color=VERMILION, marker="o", markersize=3, label="validation")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("Step", fontsize=8)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    save(figure, stem)
