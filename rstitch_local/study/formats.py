"""Report text of numbers (three significant digits, percentages, ratios, p-values, durations) and of CSV rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from rstitch_local.study.statistics import Interval, wilson

MISSING = "--"
"""Shown in tables in place of an unknown value."""


def number(value: float | None) -> str:
    """Format with three significant digits, or as an integer from 100 on."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None, interval: Interval | None) -> str:
    """Format a share and its interval in percent: `75.0% (41 to 93)`."""
    if value is None:
        return MISSING
    return f"{value:.1%}" + ("" if interval is None else f" ({interval[0] * 100:.0f} to {interval[1] * 100:.0f})")


def ratio(value: float | None, interval: Interval | None) -> str:
    """Format a ratio and its interval: `1.99x (1.98 to 2.00)`."""
    if value is None:
        return MISSING
    return f"{value:.2f}x" + ("" if interval is None else f" ({span(interval)})")


def span(interval: Interval) -> str:
    """Format an interval: `1.98 to 2.00`."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def share(part: int, whole: int) -> str:
    """Format a count with its Wilson interval: `3 of 20 (15.0%, 95 % interval 5.2% to 36.0%)`."""
    if not whole:
        return "0 of 0"
    low, high = wilson(part / whole, whole)
    return f"{part} of {whole} ({part / whole:.1%}, 95 % interval {low:.1%} to {high:.1%})"


def p_value(p: float) -> str:
    """Format a p-value with its sign: `= 0.12` or `< 0.0001`."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"


def seconds(value: float) -> str:
    """Format a duration with three significant digits: `12.3 s`, `45.6 ms`."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def points(value: float | None) -> str:
    """Format a share as percentage points: `1 point`, `2.5 points`."""
    return "nothing" if value is None else f"{value * 100:.3g} point{'' if value == 0.01 else 's'}"


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows with equal keys as CSV with a header; None becomes an empty cell, no rows an empty text."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()
