"""How a bench looks while it goes: one live block on a terminal, one line an answer anywhere else.

Knows rich and the lines of answers files. What comes from files is shown as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rstitch_local.problems.metrics import accuracy
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.run_folder import Answer, Key
from rstitch_local.problems.tasks import Task
from rstitch_local.sanitize import one_line
from rstitch_local.study.router_metrics import BASELINE, paired_ms
from rstitch_local.study.statistics import total_ratio

_REFRESH_PER_SECOND = 4


class BenchProgress(Observer):
    """Observer of the solving loop for several routers. Use it in `with`, and set `spec` before each answer.

    Args:
        console: where it is drawn; a terminal gets the live block, a file one line an answer.
        total: how many answers there will be, those there already included.
        done: how many of them are there.
        before: by router the answers that are there already.
    """

    def __init__(self, console: Console, total: int, done: int, before: Mapping[str, Sequence[Answer]]) -> None:
        self.spec = BASELINE
        self._console = console
        self._total, self._done = total, done
        self._answers: dict[str, dict[Key, Answer]] = {
            spec: {(row["id"], row["sample"]): row for row in rows} for spec, rows in before.items()
        }
        self._lines = {spec: self._figures(spec) for spec in before}
        self._now = ""
        self._tokens = 0
        self._bar = Progress(
            TextColumn("Answers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("gone,"),
            TimeRemainingColumn(), TextColumn("to go"),
        )  # fmt: skip
        self._bar_task = self._bar.add_task("", total=total, completed=done)
        self._live = Live(
            console=console,
            get_renderable=self._block,
            refresh_per_second=_REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> BenchProgress:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def on_task(self, task: Task) -> None:
        """An answer is next."""
        self._now, self._tokens = f"{self.spec} on {one_line(task.problem.id, 30)}", 0

    def on_step(self, step: Any) -> None:  # noqa: ARG002  the observer of solve() is told the step
        """A token was kept."""
        self._tokens += 1

    def on_answer(self, task: Task, answer: Answer) -> None:
        """The answer is on the disk."""
        self._done += 1
        self._bar.update(self._bar_task, completed=self._done)
        self._answers[self.spec][task.key] = answer
        self._lines[self.spec] = self._figures(self.spec)
        if not self._console.is_terminal:
            self._console.print(self._line(answer), markup=False, highlight=False, soft_wrap=True)

    def _line(self, answer: Answer) -> str:
        sample = f" sample {answer['sample']}" if answer["sample"] else ""
        if answer["stop"] == "error":
            verdict = f"error ({one_line(answer['error'] or '')})"
        else:
            verdict = {True: "right", False: "wrong", None: "not graded"}[answer["correct"]]
        seconds = (answer["wall_ms"] or 0) / 1e3
        return (
            f"{self._done}/{self._total}  {one_line(answer['id'], 40)}{sample}, {self.spec}: {verdict}; "
            f"{sum(answer['tokens'].values())} tokens, {seconds:.1f} s"
        )

    def _figures(self, spec: str) -> list[str]:
        """How many answers a router has, how many are right, seconds an answer, speed-up, LLM share."""
        rows = list(self._answers[spec].values())
        mean, _, _ = accuracy(rows)
        ours, theirs = paired_ms(rows, list(self._answers.get(BASELINE, {}).values()))
        speed_up = total_ratio(theirs, ours)
        tokens = {role: sum(row["tokens"][role] for row in rows) for role in ("slm", "llm")}
        written = sum(tokens.values())
        seconds = sum(row["wall_ms"] or 0 for row in rows) / 1e3 / len(rows) if rows else None
        return [
            str(len(rows)),
            "--" if mean is None else f"{mean:.1%}",
            "--" if seconds is None else f"{seconds:.1f}",
            "--" if speed_up is None else f"{speed_up:.2f}x",
            f"{tokens['llm'] / written:.0%}" if written else "--",
        ]

    def _block(self) -> RenderableType:
        table = Table("router", box=None, pad_edge=False)
        for name in ("answers", "right", "s each", "speed-up", "LLM share"):
            table.add_column(name, justify="right")
        for spec, cells in self._lines.items():
            table.add_row(Text(one_line(spec, 40), "bold" if spec == self.spec else ""), *cells)
        now = Text(f"{self._now}: {self._tokens} tokens so far" if self._now else "", no_wrap=True, overflow="ellipsis")
        return Group(self._bar, table, now)
