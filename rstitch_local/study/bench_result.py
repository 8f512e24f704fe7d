"""Result of `bench` for Python: metrics of each router, the paired comparison with the LLM alone, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch_local.errors import UsageError
from rstitch_local.problems.results import SolvedAnswer
from rstitch_local.problems.rows import BadRow
from rstitch_local.problems.traces import RunTraces
from rstitch_local.sanitize import shown_list
from rstitch_local.study import bench_plots
from rstitch_local.study.bench import BenchOutcome, folder_name
from rstitch_local.study.bench_report import BenchReport, csv_row
from rstitch_local.study.router_metrics import RouterMetrics
from rstitch_local.trace.record import Trace


@dataclass(frozen=True, eq=False)
class BenchResult:
    """Metrics of several routers on the same problems.

    Attributes:
        routers: metrics of each router, the LLM alone ("llm") first; empty if no problem was answered by all routers.
        outcome: the answers.
        folder: the folder of the bench.
        temporary: owner of the folder if it is a temporary one.
    """

    routers: Sequence[RouterMetrics]
    outcome: BenchOutcome
    folder: Path
    temporary: object = None

    @property
    def finished(self) -> bool:
        """Whether no answer is missing; answers that ended in an error count."""
        return self.outcome.finished

    @property
    def bad_rows(self) -> Sequence[BadRow]:
        """Rows of the problem file that were skipped."""
        return self.outcome.bad_rows

    @property
    def findings(self) -> Sequence[str]:
        """The findings of the report: the best router, what is significant, and what the time is spent on."""
        return self._report().findings if self.routers else ["No problem was answered by all routers."]

    def __getitem__(self, router: str) -> RouterMetrics:
        """Return the metrics of a router by its name.

        Raises:
            UsageError: the bench has no such router.
        """
        for metrics in self.routers:
            if metrics.router == router:
                return metrics
        raise UsageError("Unknown router", f"The bench has no router {router!r}.", f"Use {shown_list(self.names)}.")

    @property
    def names(self) -> list[str]:
        """Names of the routers, that of the LLM alone first."""
        return list(self.outcome.rows)

    def answers(self, router: str) -> list[SolvedAnswer]:
        """Return the answers of a router that its metrics are computed from: those that all routers have.

        Raises:
            UsageError: the bench has no such router.
        """
        self._require_router(router)
        questions = {problem.id: problem.question for problem in self.outcome.problems}
        return [SolvedAnswer.from_row(row, questions[row["id"]]) for row in self.outcome.rows[router]]

    def trace(self, router: str, identifier: object, sample: int = 0) -> Trace:
        """Return the trace of an answer: its tokens with entropies and swaps.

        Args:
            router: name of the router.
            identifier: id of the problem; numbers are converted to strings, as in the problem file.
            sample: number of the sample.

        Raises:
            UsageError: the bench has no such router.
            InputError: there is no such answer, it failed before its first token, or the file is damaged.
        """
        self._require_router(router)
        return RunTraces(self.folder / folder_name(router)).trace(identifier, sample)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat dict per router, for `pandas.DataFrame(result.to_records())` and the like.

        The names are the columns of figures.csv, with their units.
        """
        return [csv_row(metrics) for metrics in self.routers]

    def report(self) -> str:
        """Return the report in Markdown: findings, tables, setup and errors."""
        return self._report().markdown() if self.routers else "# Bench\n\nNo problem was answered by all routers.\n"

    def plot(self, folder: str | Path) -> list[Path]:
        """Draw accuracy against latency, accuracy against LLM share, and time by part, as PNG and SVG.

        Args:
            folder: an existing folder.

        Returns:
            The files.

        Raises:
            UsageError: matplotlib is not installed.
            StorageError: a file cannot be written.
        """
        return bench_plots.draw(self.routers, Path(folder))

    def write(self) -> None:
        """Write report.md, figures.csv and figures.json into the folder of the bench; raises StorageError."""
        if self.routers:
            self._report().write(self.folder)

    def _report(self) -> BenchReport:
        return BenchReport.of(self.outcome, self.routers)

    def _require_router(self, router: str) -> None:
        if router not in self.outcome.rows:
            raise UsageError("Unknown router", f"The bench has no router {router!r}.", f"Use {shown_list(self.names)}.")

    def __repr__(self) -> str:
        done, total = self.outcome.done, self.outcome.total
        stopped = "" if self.finished else f"; stopped after {done} of {total} answers"
        routers = ", ".join(_summary(metrics) for metrics in self.routers) or shown_list(self.names)
        return f"<BenchResult: {routers}{stopped}>"


def _summary(metrics: RouterMetrics) -> str:
    accuracy = "" if metrics.accuracy is None else f" {metrics.accuracy:.1%}"
    speed_up = "" if metrics.speed_up is None else f" {metrics.speed_up:.2f}x"
    return f"{metrics.router}{accuracy}{speed_up}"
