"""Progress and summary of a run as text."""

from __future__ import annotations

import io

from problem_fakes import row
from rich.console import Console

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.driver import Status
from rstitch_local.problems.metrics import summary
from rstitch_local.problems.observer import RunStart
from rstitch_local.problems.progress import ConsoleProgress, summary_text
from rstitch_local.problems.reading import Problem
from rstitch_local.problems.tasks import Task


def test_the_live_block_escapes_text_from_files() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    task = Task(Problem("[red]evil\x1b[2J", "q", "4", 1), 0, 7)
    status = Status(9, 16, {Role.SLM: 6, Role.LLM: 3}, 1)
    progress = ConsoleProgress(console)
    progress.on_start(RunStart(2, 0, [], lambda: status))
    progress.on_task(task)
    progress.on_step(Step(0, Role.LLM, 0, "x", 0.1, 0.9, 1, 1.0))
    progress.on_answer(task, row("[red]evil\x1b[2J", True))
    assert progress._display is not None
    console.print(progress._display.render())
    progress.on_end()
    shown = screen.getvalue()
    assert "9 of 16 sequences active: 6 waiting for the SLM, 3 waiting for the LLM; 1 preempted" in shown
    assert "\x1b[2J" not in shown
    assert "\n1/2 done" in shown.replace("\r", "")
    assert "accuracy 100.0% (20.7% to 100.0%)  LLM 100.0%" in shown


def test_summary_text() -> None:
    rows = [row("a", True), row("b", False, sample=1), row("b", False, stop="error", answer=None)]
    text = summary_text(summary(rows))
    assert "2 problems, 3 samples, 1 of 3 answers correct" in text
    assert "Accuracy 50.0%" in text
    assert "1 ended in an error" in text
    assert summary_text(summary([])) == "0 problems"
