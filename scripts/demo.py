"""Show the method in half a minute: the example problems solved by the small model, the large model, and both.

    python scripts/demo.py [--out DIR]

The answers of each router are written to a run folder below DIR, as with `rstitch bench`; existing ones are replaced.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rstitch_local import Sampling, bench, load_pair
from rstitch_local.study.bench import folder_name
from rstitch_local.study.router_metrics import RouterMetrics

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    out = parser.parse_args().out
    with load_pair("demo") as pair:
        routers = ["slm", pair.defaults.router]
        for router in ("llm", *routers):
            shutil.rmtree(out / folder_name(router), ignore_errors=True)
        problems = ROOT / "examples" / "word_problems.jsonl"
        result = bench(problems, pair, routers, sampling=Sampling(), out=out, progress=True)
    llm, slm, both = result.routers
    screen = Console()
    screen.print(_table(result.routers))
    screen.print(
        f"The large model generated {both.llm_share or 0:.0%} of the tokens, where the small model was uncertain. "
        f"Correct: {_accuracy(both)} with both models, {_accuracy(slm)} with the small one, {_accuracy(llm)} with the "
        f"large one. Both together are {both.speed_up or 0:.1f} times as fast as the large model."
    )


def _accuracy(metrics: RouterMetrics) -> str:
    return f"{metrics.accuracy or 0:.0%}"


def _table(rows: Sequence[RouterMetrics]) -> Table:
    table = Table("router")
    for name in ("accuracy", "LLM share", "tokens", "ms per problem", "speed-up"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.router,
            _accuracy(row),
            f"{row.llm_share or 0:.0%}",
            f"{row.tokens or 0:.0f}",
            f"{(row.seconds or 0) * 1e3:.0f}",
            f"{row.speed_up or 0:.2f}x",
        )
    return table


if __name__ == "__main__":
    main()
