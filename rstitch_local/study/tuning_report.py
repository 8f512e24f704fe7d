"""Report of a tuning: findings as sentences, report.md for people, tune.json for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstitch_local.files import write_atomic
from rstitch_local.study.bench_findings import time_breakdown, uses_both_models
from rstitch_local.study.bench_report import REPORT, metadata_list, metadata_of, metrics_table
from rstitch_local.study.formats import percent, span
from rstitch_local.study.markdown import escape
from rstitch_local.study.router_metrics import BASELINE, RouterMetrics
from rstitch_local.study.tuning import Constraint, Tuning

TUNE_JSON = "tune.json"
_FEW_PROBLEMS = 20


def tuning_findings(tuning: Tuning, constraint: Constraint) -> list[str]:
    """Return the findings, one paragraph each: the choice and its metrics on the reporting part; [] if unfinished."""
    if not tuning.finished:
        return []
    paragraphs = []
    if tuning.chosen is None:
        paragraphs.append(f"No router satisfies the constraint ({constraint}).")
    elif tuning.chosen == BASELINE:
        paragraphs.append(
            f"The LLM alone is the best choice: no router satisfies the constraint ({constraint}) and is better."
        )
    else:
        chosen = next(result for result in tuning.tested if result.router == tuning.chosen)
        paragraphs.append(
            f"Chosen router: {chosen.router} ({constraint}). On the {tuning.choosing} problems of the choosing part "
            f"it has {constraint.describe(chosen)} and a speed-up of {chosen.speed_up or 0:.2f}x."
        )
    if tuning.nearest is not None:
        nearest = tuning.nearest
        paragraphs.append(
            f"Nearest to the constraint is {nearest.router} with {constraint.describe(nearest)} on {nearest.problems} "
            f"problems and a speed-up of {nearest.speed_up or 0:.2f}x."
        )
    reported = {result.router: result for result in tuning.reported}
    if tuning.chosen in reported:
        paragraphs += _reporting_paragraphs(reported[tuning.chosen], reported[BASELINE], constraint)
    return paragraphs


def _reporting_paragraphs(chosen: RouterMetrics, baseline: RouterMetrics, constraint: Constraint) -> list[str]:
    accuracy = percent(chosen.accuracy, chosen.interval)
    if chosen is baseline:
        return [f"On the {chosen.problems} problems of the reporting part its accuracy is {accuracy}."]
    text = (
        f"On the {chosen.problems} problems of the reporting part, which were not used for the choice, its accuracy is "
        f"{accuracy}, that of the LLM alone {percent(baseline.accuracy, baseline.interval)}"
    )
    if chosen.loss_interval is not None and chosen.loss is not None:
        low, high = chosen.loss_interval
        text += f": a loss of {chosen.loss * 100:.3g} points (95 % interval {low * 100:.3g} to {high * 100:.3g})"
    text += f". Its speed-up is {chosen.speed_up or 0:.2f}x"
    if chosen.speed_up_interval is not None:
        text += f" (95 % interval {span(chosen.speed_up_interval)})"
    text += f", its LLM share {chosen.llm_share or 0:.1%}. "
    satisfied = constraint.satisfied_by(chosen)
    text += "It satisfies the constraint there too." if satisfied else "It does NOT satisfy the constraint there."
    paragraphs = [text]
    if uses_both_models(chosen):
        paragraphs.append(time_breakdown(chosen, baseline))
    if chosen.problems < _FEW_PROBLEMS:
        paragraphs.append(f"The reporting part has only {chosen.problems} problems; the intervals are wide.")
    return paragraphs


def write_tuning(out: Path, findings: Sequence[str], tuning: Tuning, constraint: Constraint) -> None:
    """Write report.md and tune.json; raises StorageError."""
    parts = ["# Tuning", *map(escape, findings)]
    if tuning.reported:
        parts += ["## Reporting part", metrics_table(tuning.reported)]
    if tuning.tested:
        parts += ["## Choosing part", metrics_table(tuning.tested)]
    if tuning.screened:
        count = tuning.screened[0].problems
        parts += [
            f"## All candidates on the first {count} problems of the choosing part",
            metrics_table(tuning.screened),
        ]
    if tuning.report is not None:
        parts += ["## Setup", metadata_list(metadata_of(tuning.report))]
    write_atomic(out / REPORT, "\n\n".join(parts) + "\n", what="report")
    text = json.dumps(tuning_record(findings, tuning, constraint), indent=2, allow_nan=False)
    write_atomic(out / TUNE_JSON, text + "\n", what="report")


def tuning_record(findings: Sequence[str], tuning: Tuning, constraint: Constraint) -> Mapping[str, Any]:
    """Return the content of tune.json."""
    # The keys are those of the first release.
    return {
        "wish": asdict(constraint),
        "chosen": tuning.chosen,
        "nearest": None if tuning.nearest is None else tuning.nearest.router,
        "finished": tuning.finished,
        "plain_words": list(findings),
        "problems": {"choosing": tuning.choosing, "reporting": tuning.reporting},
        "reported": [result.to_dict() for result in tuning.reported],
        "tested": [result.to_dict() for result in tuning.tested],
        "scouted": [result.to_dict() for result in tuning.screened],
    }
