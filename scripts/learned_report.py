"""Report a comparison of learned routers with fixed rules as Markdown and as a figure.

    python scripts/learned_report.py FILE.json

FILE.json is the output of `scripts/learned_router.py compare`. The figure, FILE.png and FILE.svg, requires the extra
`study`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from rstitch_local.plotting import BLUE, GREEN, VERMILION, has_library, save
from rstitch_local.problems.metrics import wilson
from rstitch_local.study.statistics import difference_interval, mcnemar, ratio_interval, total_ratio

_ZOOM_POINTS = 7
"""The zoomed panel shows this many percentage points below the best accuracy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    report(json.loads(file.read_text(encoding="utf-8")), file)


def report(record: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Print a table of all routers, and compare each learned one with fixed rules of equal accuracy and latency."""
    print("| router | correct | 95 % interval | LLM tokens | visits | modelled ms | measured ms |")
    print("|---|---|---|---|---|---|---|")
    for name, answers in record.items():
        low, high = wilson(fmean(answers["right"]), len(answers["right"]))
        share = sum(answers["llm_tokens"]) / sum(answers["tokens"])
        print(
            f"| {name} | {fmean(answers['right']):.1%} | {low:.1%} to {high:.1%} | {share:.1%} "
            f"| {fmean(answers['visits']):.2f} | {fmean(answers['latency_ms']):.2f} | {fmean(answers['wall_ms']):.2f} |"
        )
    for name, answers in record.items():
        if not answers["learned"]:
            continue
        print(f"\n{name}:")
        for kind in ("entropy", "window"):
            fixed = {spec: other for spec, other in record.items() if spec.startswith(kind) and not other["learned"]}
            if fixed:
                _compare(answers, fixed)
    if has_library("matplotlib"):
        figure(record, file.with_name(file.name.removesuffix(".json")))


def _compare(learned: Mapping[str, Any], fixed: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare a learned router with fixed rules that are selected on the same problems, which favours the rules."""

    def accuracy(spec: str) -> float:
        return fmean(fixed[spec]["right"])

    def cost(spec: str) -> float:
        return fmean(fixed[spec]["latency_ms"])

    as_accurate = [spec for spec in fixed if accuracy(spec) >= fmean(learned["right"])]
    as_fast = [spec for spec in fixed if cost(spec) <= fmean(learned["latency_ms"])]
    # If no rule is as accurate, take the most accurate one; if none is as fast, the fastest.
    chosen = [
        ("same accuracy", min(as_accurate, key=cost)) if as_accurate else ("most accurate", max(fixed, key=accuracy)),
        ("same latency", max(as_fast, key=accuracy)) if as_fast else ("fastest", min(fixed, key=cost)),
    ]
    for criterion, spec in chosen:
        print(f"- vs {spec} ({criterion}): {_differences(learned, fixed[spec])}")


def _differences(learned: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    verdicts, others = [float(x) for x in learned["right"]], [float(x) for x in rule["right"]]
    better = sum(a > b for a, b in zip(verdicts, others, strict=True))
    worse = sum(a < b for a, b in zip(verdicts, others, strict=True))
    interval = difference_interval(verdicts, others, *(wilson(fmean(x), len(x)) for x in (verdicts, others)))
    assert interval is not None
    parts = [
        f"accuracy {fmean(verdicts) - fmean(others):+.1%} ({interval[0]:+.1%} to {interval[1]:+.1%}; "
        f"+{better} -{worse}, p {mcnemar(better, worse):.2f})"
    ]
    for name, key in (("modelled", "latency_ms"), ("measured", "wall_ms")):
        ratio, bounds = total_ratio(learned[key], rule[key]), ratio_interval(learned[key], rule[key])
        assert ratio is not None
        assert bounds is not None
        parts.append(f"{name} latency {ratio - 1:+.1%} ({bounds[0] - 1:+.1%} to {bounds[1] - 1:+.1%})")
    return ", ".join(parts)


def figure(record: Mapping[str, Mapping[str, Any]], stem: Path) -> None:
    """Draw accuracy against modelled latency, whole and zoomed: fixed rules, and each learned router with a number.

    Args:
        record: the output of `learned_router.py compare`.
        stem: path of the files without their suffix; writes stem.png and stem.svg.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.8), layout="constrained")
    panels = drawing.subplots(1, 2)
    for axes, is_whole in zip(panels, (True, False), strict=True):
        _draw_rules(axes, record)
        _draw_learned(axes, record, with_intervals=is_whole)
        axes.set_xlabel("Modelled latency of an answer (ms)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("Correct answers (%), 95 % intervals")
    best = max(_point(answers)[1] for answers in record.values())
    near = sorted(_point(answers)[0] for answers in record.values() if _point(answers)[1] > best - _ZOOM_POINTS)
    panels[1].set_xlim(near[0] - 1, near[-1 - len(near) // 10] + 1)
    panels[1].set_ylim(best - _ZOOM_POINTS, best + 0.5)
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    save(drawing, stem)


def _draw_rules(axes: Any, record: Mapping[str, Mapping[str, Any]]) -> None:
    for start, label, color, marker, line in (
        ("entropy:", "entropy, over tau", BLUE, "o", "-"),
        ("window:", "windows of 2 and 4", GREEN, "^", "none"),
    ):
        points = sorted(
            _point(answers) for spec, answers in record.items() if spec.startswith(start) and not answers["learned"]
        )
        if points:
            ms, correct = zip(*points, strict=True)
            axes.plot(ms, correct, linestyle=line, color=color, marker=marker, markersize=4, label=label)


def _draw_learned(axes: Any, record: Mapping[str, Mapping[str, Any]], *, with_intervals: bool) -> None:
    learned = {name: answers for name, answers in record.items() if answers["learned"]}
    for number, (name, answers) in enumerate(learned.items(), 1):
        ms, correct = _point(answers)
        low, high = wilson(correct / 100, len(answers["right"]))
        errors = [[correct - 100 * low], [100 * high - correct]]
        axes.errorbar(ms, correct, errors if with_intervals else None, color=VERMILION, linewidth=0.6)
        label = f"{number}  {name.removesuffix('/router')}"
        axes.plot(ms, correct, color=VERMILION, marker="s", markersize=4, linestyle="none", label=label)
        offset = (4, -9 if number % 2 else 4)
        axes.annotate(str(number), (ms, correct), offset, textcoords="offset points", fontsize=8)


def _point(answers: Mapping[str, Any]) -> tuple[float, float]:
    return fmean(answers["latency_ms"]), 100 * fmean(answers["right"])


if __name__ == "__main__":
    main()
