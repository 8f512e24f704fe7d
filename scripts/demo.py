"""What the method does, in half a minute: the shipped problems by the small model, the large one, and both.

    python scripts/demo.py [--out DIR]

Each router's answers are kept in a run folder below DIR, as `rstitch solve` writes them; the demo begins afresh.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rstitch_local import load_pair
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.study.comparison import RouterFigures, compare_routers

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Solve the examples three times and show what each way took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    out = parser.parse_args().out
    with load_pair("demo") as pair:
        routers = ["slm", "llm", pair.defaults.router]
        for router in routers:
            shutil.rmtree(out / router.replace(":", "-"), ignore_errors=True)
        figures = compare_routers(
            pair, ROOT / "examples" / "word_problems.jsonl", out, routers, prompt=prompt_of(pair.defaults.prompt)
        )
    slm, llm, both = figures
    screen = Console()
    screen.print(_table(figures))
    screen.print(
        f"The small model wrote wherever it was sure, and the large one {both.summary['llm_share']:.0%} of the tokens: "
        f"{_accuracy(both)} right against {_accuracy(slm)} and {_accuracy(llm)} alone, "
        f"{both.speed_up_over(llm):.1f} times as fast as the large model."
    )


def _accuracy(figures: RouterFigures) -> str:
    return f"{figures.summary['accuracy']:.0%}"


def _table(figures: list[RouterFigures]) -> Table:
    table = Table("router")
    for name in ("accuracy", "LLM share", "tokens", "ms a problem", "speed-up"):
        table.add_column(name, justify="right")
    for row in figures:
        tokens = sum(row.summary["tokens"].values()) / len(row.rows)
        table.add_row(
            row.router,
            _accuracy(row),
            f"{row.summary['llm_share']:.0%}",
            f"{tokens:.0f}",
            f"{statistics.fmean(row.ms_by_problem.values()):.0f}",
            f"{row.speed_up_over(figures[1]):.2f}x",
        )
    return table


if __name__ == "__main__":
    main()
