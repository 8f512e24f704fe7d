"""What a tuning found, in plain words and as files.

Knows findings and figures; nothing of how they came about, nor of settings files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstitch_local.files import write_atomic
from rstitch_local.study.figures import BASE, RouterFigures
from rstitch_local.study.report import REPORT, escaped, facts_of, figures_table, shares
from rstitch_local.study.tuning import Constraint, Tuning
from rstitch_local.study.verdict import account, stitched

TUNE_JSON = "tune.json"
_FEW = 20


def findings(found: Tuning, wish: Constraint) -> list[str]:
    """Paragraphs: what was chosen, how it does on the reporting part, and why; none before the end."""
    if not found.finished:
        return []
    words = []
    tested = {own.router: own for own in found.tested}
    if found.chosen is None:
        words.append(f"Nothing keeps to the wish ({wish}).")
    elif found.chosen == BASE:
        words.append(f"The LLM alone is the best choice: no router keeps to the wish ({wish}) and is better.")
    else:
        own = tested[found.chosen]
        words.append(
            f"{own.router} is chosen ({wish}): on the {found.choosing} problems of the choosing part it has "
            f"{wish.said(own)} and a speed-up of {own.speed_up or 0:.2f}x."
        )
    if found.nearest is not None:
        own = found.nearest
        words.append(
            f"{own.router} comes nearest of the routers, with {wish.said(own)} on {own.problems} problems "
            f"and a speed-up of {own.speed_up or 0:.2f}x."
        )
    reported = {own.router: own for own in found.reported}
    if found.chosen in reported:
        words += _reported(reported[found.chosen], reported[BASE], wish)
    return words


def _reported(own: RouterFigures, base: RouterFigures, wish: Constraint) -> list[str]:
    if own is base:
        return [
            f"On the {own.problems} problems of the reporting part it has {shares(own.accuracy, own.interval)} right."
        ]
    speed = f"{own.speed_up or 0:.2f}x"
    if own.speed_up_interval is not None:
        speed += f" (95 % interval {own.speed_up_interval[0]:.2f} to {own.speed_up_interval[1]:.2f})"
    text = (
        f"On the {own.problems} problems of the reporting part, which had no say in the choice, it has "
        f"{shares(own.accuracy, own.interval)} right, the LLM alone {shares(base.accuracy, base.interval)}"
    )
    if own.loss_interval is not None and own.loss is not None:
        low, high = own.loss_interval
        text += f": a loss of {own.loss * 100:.3g} points (95 % interval {low * 100:.3g} to {high * 100:.3g})"
    text += f". Its speed-up is {speed}, its LLM share {own.llm_share or 0:.1%}. "
    text += "It keeps to the wish there as well." if wish.kept_by(own) else "There it does NOT keep to the wish."
    words = [text]
    if stitched(own):
        words.append(account(own, base))
    if own.problems < _FEW:
        words.append(f"{own.problems} problems are few: the intervals say how little is certain.")
    return words


def write_tuning(out: Path, words: Sequence[str], found: Tuning, wish: Constraint) -> None:
    """Write report.md and tune.json; raises StorageError."""
    parts = ["# Tuning", *map(escaped, words)]
    if found.reported:
        parts += ["## The reporting part", figures_table(found.reported)]
    if found.tested:
        parts += ["## The choosing part", figures_table(found.tested)]
    if found.scouted:
        first = found.scouted[0].problems
        parts += [f"## All candidates on its first {first} problems", figures_table(found.scouted)]
    if found.report is not None:
        facts = facts_of(found.report).items()
        parts += ["## What was measured", "\n".join(f"- {name}: {escaped(value)}" for name, value in facts)]
    write_atomic(out / REPORT, "\n\n".join(parts) + "\n", what="report")
    text = json.dumps(record(words, found, wish), indent=2, allow_nan=False)
    write_atomic(out / TUNE_JSON, text + "\n", what="report")


def record(words: Sequence[str], found: Tuning, wish: Constraint) -> Mapping[str, Any]:
    """Everything that was found, ready for JSON."""
    return {
        "wish": asdict(wish),
        "chosen": found.chosen,
        "nearest": None if found.nearest is None else found.nearest.router,
        "finished": found.finished,
        "plain_words": list(words),
        "problems": {"choosing": found.choosing, "reporting": found.reporting},
        "reported": [asdict(own) for own in found.reported],
        "tested": [asdict(own) for own in found.tested],
        "scouted": [asdict(own) for own in found.scouted],
    }
