"""What the method does, in half a minute: the shipped problems by the small model, the large one, and both.

    python scripts/demo.py [--out DIR]

Each router's answers are kept in a run folder below DIR, as `rstitch solve` writes them; the demo begins afresh.
"""

from __future__ import annotations

import argparse
import shutil
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rstitch_local import load_pair
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.runner import Job
from rstitch_local.problems.tasks import Settings
from rstitch_local.study.bench import compare_routers, folder_name, run_bench
from rstitch_local.study.bench_progress import ConsoleBenchProgress
from rstitch_local.study.router_metrics import RouterMetrics

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Solve the examples three times and show what each way took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    out = parser.parse_args().out
    with load_pair("demo") as pair:
        routers = ["slm", pair.defaults.router]
        for router in ("llm", *routers):
            shutil.rmtree(out / folder_name(router), ignore_errors=True)
        job = Job(
            source=ROOT / "examples" / "word_problems.jsonl",
            out=out,
            settings=Settings("llm", Sampling(), prompt_of(pair.defaults.prompt)),
            model_settings={role.value: pair.weights[role].path.name for role in Role},
            pair_name=pair.name,
        )
        progress = ConsoleBenchProgress(Console(stderr=True))
        results = compare_routers(run_bench(job, routers, lambda: nullcontext(pair), progress))
    llm, slm, both = results
    screen = Console()
    screen.print(_table(results))
    screen.print(
        f"The small model wrote wherever it was sure, and the large one {both.llm_share or 0:.0%} of the tokens: "
        f"{_accuracy(both)} right against {_accuracy(slm)} and {_accuracy(llm)} alone, "
        f"{both.speed_up or 0:.1f} times as fast as the large model."
    )


def _accuracy(result: RouterMetrics) -> str:
    return f"{result.accuracy or 0:.0%}"


def _table(results: list[RouterMetrics]) -> Table:
    table = Table("router")
    for name in ("accuracy", "LLM share", "tokens", "ms a problem", "speed-up"):
        table.add_column(name, justify="right")
    for row in results:
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
