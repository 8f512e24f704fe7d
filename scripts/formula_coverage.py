"""Count the formulas in problem files that the chat shows as Unicode, and those whose source it shows.

    python scripts/formula_coverage.py FILE [FILE ...] [--reasons N]

A formula is shown on one line, or as a block of lines (fractions and limits of displayed formulas, matrices).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rstitch_tui.mathematics.formula import parse_formula
from rstitch_tui.mathematics.scan import Scanner
from rstitch_tui.mathematics.tokens import UnsupportedError

WIDTH = 76
"""Cells of a line in a terminal of 80 columns."""


def texts_in(value: object) -> Iterator[str]:
    """Yield all texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def formulas_in(text: str) -> Iterator[str]:
    """Yield the TeX of the formulas in a text, paragraph by paragraph."""
    for paragraph in text.split("\n\n"):
        scanner = Scanner()
        scanner.feed(paragraph)
        yield from (span.body for span in scanner.spans)


def shown_as(source: str, reasons: Counter[str]) -> str:
    """Return how a formula is shown; if it is its source, count why."""
    try:
        formula = parse_formula(source)
    except UnsupportedError as error:
        reasons[str(error)] += 1
        return "source"
    if formula.line is not None:
        return "Unicode, one line"
    if formula.block(WIDTH) is None and formula.long_lines is None:
        reasons["too wide"] += 1
        return "source"
    return "Unicode, several lines"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--reasons", type=int, default=10, help="number of reasons to list")
    options = parser.parse_args()
    for path in options.files:
        kinds: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for line in path.read_text(encoding="utf-8").splitlines():
            for text in texts_in(json.loads(line)):
                kinds.update(shown_as(source, reasons) for source in formulas_in(text))
        total = kinds.total()
        print(f"{path.name}: {total:,} formulas")
        for kind, count in kinds.most_common():
            print(f"  {kind}: {count:,} ({count / total:.1%})")
        for reason, count in reasons.most_common(options.reasons):
            print(f"    {count:5,}  {reason}")


if __name__ == "__main__":
    main()
