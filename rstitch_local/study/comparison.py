"""The same problems solved with several routers, and what each cost and brought.

Knows run folders and their figures; nothing of how answers come about, and nothing of how a table is printed but
its Markdown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.pair import Pair
from rstitch_local.problems.metrics import Row
from rstitch_local.problems.prompts import Prompt
from rstitch_local.problems.run_folder import RunFolder
from rstitch_local.problems.selection import Selection
from rstitch_local.problems.session import Job, run_job
from rstitch_local.problems.solve import Settings

HEADER = (
    "| router | accuracy (95 % interval) | LLM share | swaps up | catch-up tokens | tokens | s a problem (median) "
    "| ms a token | speed-up over llm | outside llama_decode |\n|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One router's run: its summary (as `rstitch solve --json` prints it) and its lines of answers.jsonl."""

    router: str
    summary: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def ms_by_problem(self) -> dict[str, float]:
        """Wall milliseconds of each problem's answer."""
        return {row["id"]: row["wall_ms"] for row in self.rows}

    @property
    def outside_share(self) -> float:
        """Share of the wall time that was not spent inside llama.cpp."""
        inside = sum(sum(kinds.values()) for row in self.rows for kinds in row["ms"].values())
        return 1 - float(inside) / sum(self.ms_by_problem.values())

    def ms_per_token(self, role: Role, kind: str) -> float | None:
        """Mean cost of a token one model evaluated as prompt, catch_up or decode; None where there was none."""
        tokens = sum(row["evaluated"][role][kind] for row in self.rows)
        return sum(row["ms"][role][kind] for row in self.rows) / tokens if tokens else None

    def speed_up_over(self, other: RouterFigures) -> float:
        """Total time of the other router's answers over the time of this one's."""
        return sum(other.ms_by_problem.values()) / sum(self.ms_by_problem.values())


def compare_routers(
    pair: Pair,
    problems: Path,
    out: Path,
    routers: Sequence[str],
    *,
    prompt: Prompt,
    limit: int | None = None,
    max_tokens: int | None = None,
    console: Console | None = None,
) -> list[RouterFigures]:
    """Solve a problem file greedily with each router in turn, each in a folder of its own below `out`.

    What is there already is kept, so a comparison that was stopped goes on when it is called again.

    Raises:
        RStitchError: as `rstitch solve` does.
    """
    figures = []
    for router in routers:
        folder = out / router.replace(":", "-")
        job = Job(
            file=problems,
            out=folder,
            settings=Settings(router, Sampling(), prompt, max_tokens),
            model_settings={role.value: pair.weights[role].path.name for role in Role},
            pair_name=pair.name,
            selection=Selection(limit=limit),
        )
        outcome = run_job(job, lambda _: _left_open(pair), console or Console(stderr=True))
        with RunFolder(folder) as run:
            figures.append(RouterFigures(router, outcome.summary, list(run.answers)))
    return figures


@contextmanager
def _left_open(pair: Pair) -> Iterator[Pair]:
    """The pair as a run wants it, but not freed at the run's end."""
    yield pair


def table(figures: Sequence[RouterFigures]) -> str:
    """Markdown: a row a router; swaps and tokens as means over problems, the speed-up as the ratio of total times."""
    alone = next(f for f in figures if f.router == "llm")
    return "\n".join([HEADER, *(_row(f, alone) for f in figures)])


def _row(figures: RouterFigures, alone: RouterFigures) -> str:
    summary, count = figures.summary, len(figures.rows)
    tokens = sum(summary["tokens"].values())
    times = list(figures.ms_by_problem.values())
    low, high = summary["ci95"]
    return (
        f"| {figures.router} | {summary['accuracy']:.1%} ({low:.0%} to {high:.0%}) | {summary['llm_share']:.1%} "
        f"| {summary['swaps']['up'] / count:.1f} | {summary['catch_up_tokens'] / count:.1f} | {tokens / count:.0f} "
        f"| {statistics.median(times) / 1e3:.3g} | {sum(times) / tokens:.3g} | {figures.speed_up_over(alone):.2f}x "
        f"| {figures.outside_share:.1%} |"
    )


def cost_table(figures: Sequence[RouterFigures]) -> str:
    """Markdown: what a token cost each model by the way it was evaluated, for each router.

    Besides explaining the times this shows a machine that changed its speed between two routers: the cost of a
    decoded token should be the same in all rows.
    """
    kinds = [(role, kind) for role in Role for kind in ("prompt", "catch_up", "decode")]
    names = " | ".join(f"{role.name} {kind.replace('_', '-')}" for role, kind in kinds)
    lines = [f"| ms a token | {names} |", "|---" * (len(kinds) + 1) + "|"]
    for row in figures:
        costs = (row.ms_per_token(role, kind) for role, kind in kinds)
        lines.append(f"| {row.router} | " + " | ".join("" if cost is None else f"{cost:.3g}" for cost in costs) + " |")
    return "\n".join(lines)
