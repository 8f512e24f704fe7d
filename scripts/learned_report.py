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

from rstitch_local.plotting import BLUE, GREEN, VERMILION, has_library, save
from rstitch_local.problems.metrics import wilson
from rstitch_local.study.statistics import difference_interval, mcnemar, ratio_interval, total_ratio

_CLOSE = 7
"""Points below the best accuracy that the close-up shows."""


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
    if has_library("matplotlib"):
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
    """Accuracy against modelled latency, whole and close up: fixed rules over tau, each learned router with its number.

    Args:
        record: of `compare`.
        stem: the files' path without their suffix; there will be stem.png and stem.svg.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    learned = {name: _point(own) for name, own in record.items() if own["learned"]}
    panels = figure.subplots(1, 2)
    for axes in panels:
        for start, label, colour, marker in (
            ("entropy:", "threshold, over tau", BLUE, "o"),
            ("window:", "windows of 2 and 4", GREEN, "^"),
        ):
            points = sorted(
                _point(own) for spec, own in record.items() if spec.startswith(start) and spec not in learned
            )
            line = "-" if start == "entropy:" else "none"
            if points:
                ms, right = zip(*points, strict=True)
                axes.plot(ms, right, linestyle=line, color=colour, marker=marker, markersize=4, label=label)
        for number, (name, (at, share)) in enumerate(learned.items(), 1):
            low, high = wilson(share / 100, len(record[name]["right"]))
            errors = [[share - 100 * low], [100 * high - share]]
            axes.errorbar(at, share, errors if axes is panels[0] else None, color=VERMILION, linewidth=0.6)
            shown = f"{number}  {name.removesuffix('/router')}"
            axes.plot(at, share, color=VERMILION, marker="s", markersize=4, linestyle="none", label=shown)
            axes.annotate(
                str(number), (at, share), (4, -9 if number % 2 else 4), textcoords="offset points", fontsize=8
            )
        axes.set_xlabel("Modelled latency of an answer (ms)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("Right answers (%), 95 % intervals")
    best = max(_point(own)[1] for own in record.values())
    near = [_point(own)[0] for own in record.values() if _point(own)[1] > best - _CLOSE]
    panels[1].set_xlim(min(near) - 1, sorted(near)[-1 - len(near) // 10] + 1)
    panels[1].set_ylim(best - _CLOSE, best + 0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    save(figure, stem)


def _point(own: Mapping[str, Any]) -> tuple[float, float]:
    return fmean(own["latency_ms"]), 100 * fmean(own["right"])


if __name__ == "__main__":
    main()
