"""Says what a comparison of learned routers with fixed rules has shown, as Markdown and as a picture.

    python scripts/learned_report.py FILE.json

FILE.json is what `scripts/learned_router.py compare` has written. The picture, FILE.png and FILE.svg, needs the extra
`study`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from rstitch_local.drawing import BLUE, GREEN, VERMILION, has_matplotlib, save
from rstitch_local.problems.metrics import wilson
from rstitch_local.study.statistics import difference_interval, mcnemar, ratio_interval, total_ratio


def main() -> None:
    """Report on a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    report(json.loads(file.read_text(encoding="utf-8")), file)


def report(record: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Print a table of all routers, and for each learned one what the fixed rules do at its accuracy and latency."""
    print("| router | right, % | 95 % interval | LLM tokens, % | visits | modelled ms | measured ms |")
    print("|---|---|---|---|---|---|---|")
    for name, own in record.items():
        low, high = wilson(fmean(own["right"]), len(own["right"]))
        share = sum(own["llm_tokens"]) / sum(own["tokens"])
        print(
            f"| {name} | {fmean(own['right']):.1%} | {low:.1%} to {high:.1%} | {share:.1%} "
            f"| {fmean(own['visits']):.2f} | {fmean(own['latency_ms']):.2f} | {fmean(own['wall_ms']):.2f} |"
        )
    for name, own in record.items():
        if not own["learned"]:
            continue
        print(f"\n{name}:")
        for kind in ("entropy", "window"):
            fixed = {spec: other for spec, other in record.items() if spec.startswith(kind) and not other["learned"]}
            if fixed:
                _against(own, fixed)
    if has_matplotlib():
        picture(record, file.with_name(file.name.removesuffix(".json")))


def _against(own: Mapping[str, Any], fixed: Mapping[str, Mapping[str, Any]]) -> None:
    """The fixed rule to hold a learned one against, chosen in hindsight on these very problems, which favours it."""

    def accuracy(spec: str) -> float:
        return fmean(fixed[spec]["right"])

    def cost(spec: str) -> float:
        return fmean(fixed[spec]["latency_ms"])

    as_right = [spec for spec in fixed if accuracy(spec) >= fmean(own["right"])]
    as_fast = [spec for spec in fixed if cost(spec) <= fmean(own["latency_ms"])]
    # Where no tau is as accurate, the most accurate one; where none is as fast, the fastest.
    chosen = [
        ("at its accuracy", min(as_right, key=cost)) if as_right else ("the most accurate,", max(fixed, key=accuracy)),
        ("at its latency", max(as_fast, key=accuracy)) if as_fast else ("the fastest,", min(fixed, key=cost)),
    ]
    for when, spec in chosen:
        other = fixed[spec]
        ours, theirs = [float(x) for x in own["right"]], [float(x) for x in other["right"]]
        better = sum(a > b for a, b in zip(ours, theirs, strict=True))
        worse = sum(a < b for a, b in zip(ours, theirs, strict=True))
        interval = difference_interval(ours, theirs, *(wilson(fmean(x), len(x)) for x in (ours, theirs)))
        assert interval is not None
        parts = [
            f"{when} {spec}: accuracy {fmean(ours) - fmean(theirs):+.1%} ({interval[0]:+.1%} to {interval[1]:+.1%}; "
            f"+{better} -{worse}, p {mcnemar(better, worse):.2f})"
        ]
        for word, key in (("modelled", "latency_ms"), ("measured", "wall_ms")):
            ratio, span = total_ratio(own[key], other[key]), ratio_interval(own[key], other[key])
            assert ratio is not None
            assert span is not None
            parts.append(f"{word} latency {ratio - 1:+.1%} ({span[0] - 1:+.1%} to {span[1] - 1:+.1%})")
        print("- " + ", ".join(parts))


def picture(record: Mapping[str, Mapping[str, Any]], stem: Path) -> None:
    """Accuracy against modelled latency: the fixed rules as curves over tau, each learned router with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    kinds = (("entropy:", "threshold, over tau", BLUE, "o"), ("window:", "windows of 2 and 4", GREEN, "^"))
    for start, label, colour, marker in kinds:
        points = sorted(_point(own) for spec, own in record.items() if spec.startswith(start) and not own["learned"])
        if points:
            line = "-" if start == "entropy:" else "none"
            axes.plot(
                *zip(*points, strict=True), linestyle=line, color=colour, marker=marker, markersize=4, label=label
            )
    for name, own in record.items():
        if own["learned"]:
            ms, right = _point(own)
            low, high = wilson(right / 100, len(own["right"]))
            errors = [[right - 100 * low], [100 * high - right]]
            axes.errorbar(ms, right, errors, color=VERMILION, marker="s", markersize=5, linewidth=0.7)
            axes.annotate(name.removesuffix("/router"), (ms, right), (5, 3), textcoords="offset points", fontsize=7)
    if any(own["learned"] for own in record.values()):
        axes.plot([], [], color=VERMILION, marker="s", label="learned, with 95 % intervals")
    axes.set_xlabel("Modelled latency of an answer (ms)")
    axes.set_ylabel("Right answers (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save(figure, stem)


def _point(own: Mapping[str, Any]) -> tuple[float, float]:
    return fmean(own["latency_ms"]), 100 * fmean(own["right"])


if __name__ == "__main__":
    main()
