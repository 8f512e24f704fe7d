"""Progress of a bench on a rich console: a live block on a terminal, otherwise one line per answer.

Text from files is never read as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.metrics import accuracy
from rstitch_local.problems.progress import LiveDisplay, print_line, print_notes
from rstitch_local.problems.reading import ProblemFile
from rstitch_local.problems.run_folder import Key
from rstitch_local.problems.tasks import Task
from rstitch_local.sanitize import human_seconds, one_line
from rstitch_local.study.bench_observer import BenchObserver, BenchStart
from rstitch_local.study.formats import MISSING
from rstitch_local.study.router_metrics import BASELINE, paired_ms
from rstitch_local.study.statistics import total_ratio

if TYPE_CHECKING:
    from rstitch_local.decoding.step import Step


class ConsoleBenchProgress(BenchObserver):
    """Shows the events of a bench on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display: _Display | None = None

    def on_problem_file(self, problem_file: ProblemFile) -> None:
        print_notes(self._console, problem_file)

    def on_notice(self, text: str) -> None:
        print_line(self._console, text)

    def on_start(self, start: BenchStart) -> None:
        self._display = _Display(self._console, start)
        self._display.open()

    def on_task(self, router: str, task: Task) -> None:
        if self._display is not None:
            self._display.start_answer(router, task)

    def on_step(self, router: str, step: Step) -> None:  # noqa: ARG002  only the number of steps is shown
        if self._display is not None:
            self._display.tokens += 1

    def on_answer(self, router: str, task: Task, answer: Answer) -> None:
        if self._display is not None:
            self._display.add_answer(router, task, answer)

    def on_end(self) -> None:
        if self._display is not None:
            self._display.close()


class _Display(LiveDisplay):
    """The progress of a bench that has started."""

    def __init__(self, console: Console, start: BenchStart) -> None:
        super().__init__(console)
        self.tokens = 0
        self._total, self._done = start.total, start.done
        self._router = BASELINE
        self._problem = ""
        self._answers: dict[str, dict[Key, Answer]] = {
            router: {(row["id"], row["sample"]): row for row in rows} for router, rows in start.answers.items()
        }
        self._cells = {router: self._router_cells(router) for router in start.answers}
        self._bar = Progress(
            TextColumn("Answers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("elapsed,"),
            TimeRemainingColumn(), TextColumn("remaining"),
        )  # fmt: skip
        self._bar_task = self._bar.add_task("", total=self._total, completed=self._done)

    def start_answer(self, router: str, task: Task) -> None:
        self._router, self._problem, self.tokens = router, one_line(task.problem.id, 30), 0

    def add_answer(self, router: str, task: Task, answer: Answer) -> None:
        self._done += 1
        self._bar.update(self._bar_task, completed=self._done)
        self._answers[router][task.key] = answer
        self._cells[router] = self._router_cells(router)
        self.print_line(self._line(router, answer))

    def render(self) -> RenderableType:
        table = Table("router", box=None, pad_edge=False)
        for name in ("answers", "right", "s each", "speed-up", "LLM share"):
            table.add_column(name, justify="right")
        for router, cells in self._cells.items():
            table.add_row(Text(one_line(router, 40), "bold" if router == self._router else ""), *cells)
        current = f"{self._router} on {self._problem}: {self.tokens} tokens" if self._problem else ""
        return Group(self._bar, table, Text(current, no_wrap=True, overflow="ellipsis"))

    def _line(self, router: str, answer: Answer) -> str:
        sample = f" sample {answer['sample']}" if answer["sample"] else ""
        if answer["stop"] == "error":
            verdict = f"error ({one_line(answer['error'] or '')})"
        else:
            verdict = {True: "right", False: "wrong", None: "not graded"}[answer["correct"]]
        seconds = (answer["wall_ms"] or 0) / 1e3
        return (
            f"{self._done}/{self._total}  {one_line(answer['id'], 40)}{sample}, {router}: {verdict}; "
            f"{sum(answer['tokens'].values())} tokens, {human_seconds(seconds)}"
        )

    def _router_cells(self, router: str) -> list[str]:
        """Return the cells of a router: answers, share of right answers, seconds per answer, speed-up, LLM share."""
        rows = list(self._answers[router].values())
        mean, _, _ = accuracy(rows)
        times, baseline_times = paired_ms(rows, list(self._answers.get(BASELINE, {}).values()))
        speed_up = total_ratio(baseline_times, times)
        tokens = {role: sum(row["tokens"][role] for row in rows) for role in ("slm", "llm")}
        all_tokens = sum(tokens.values())
        seconds = sum(row["wall_ms"] or 0 for row in rows) / 1e3 / len(rows) if rows else None
        return [
            str(len(rows)),
            MISSING if mean is None else f"{mean:.1%}",
            MISSING if seconds is None else f"{seconds:.1f}",
            MISSING if speed_up is None else f"{speed_up:.2f}x",
            f"{tokens['llm'] / all_tokens:.0%}" if all_tokens else MISSING,
        ]
