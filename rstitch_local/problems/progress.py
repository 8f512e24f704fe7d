"""Progress of a run and its summary, as text for a terminal.

A terminal shows a live block, any other output one line per answer. Text from files is never read as markup.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.metrics import accuracy
from rstitch_local.problems.observer import Observer, RunStart
from rstitch_local.problems.reading import ProblemFile
from rstitch_local.problems.rows import BadRow
from rstitch_local.problems.run_folder import Key
from rstitch_local.problems.tasks import Task
from rstitch_local.sanitize import human_seconds, one_line, single_line

if TYPE_CHECKING:
    from rstitch_local.decoding.step import Step
    from rstitch_local.engine.driver import Status

_REFRESH_PER_SECOND = 4
_SHOWN_BAD_ROWS = 10


class ConsoleProgress(Observer):
    """Shows the events of a run on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display: _Display | None = None

    def on_problem_file(self, problem_file: ProblemFile) -> None:
        print_notes(self._console, problem_file)

    def on_notice(self, text: str) -> None:
        print_line(self._console, text)

    def on_start(self, start: RunStart) -> None:
        self._display = _Display(self._console, start)
        self._display.open()

    def on_step(self, step: Step) -> None:
        if self._display is not None:
            self._display.count_token(step)

    def on_answer(self, task: Task, answer: Answer) -> None:
        if self._display is not None:
            self._display.add_answer(task, answer)

    def on_end(self) -> None:
        if self._display is not None:
            self._display.close()


class LiveDisplay(ABC):
    """A block that is redrawn on a terminal from `open` to `close`; lines of text on any other output."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    @abstractmethod
    def render(self) -> RenderableType:
        """Return the block as it is now; called from Rich's refresh thread as well."""

    def open(self) -> None:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=_REFRESH_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def print_line(self, text: str) -> None:
        """Print a line unless the output is a terminal."""
        if not self.console.is_terminal:
            print_line(self.console, text)


class _Display(LiveDisplay):
    """The progress of a run that has started."""

    def __init__(self, console: Console, start: RunStart) -> None:
        super().__init__(console)
        self._total = start.total
        self._done_before = start.done
        self._status = start.status
        self._answers: dict[Key, Answer] = {(row["id"], row["sample"]): row for row in start.answers}
        self._done = 0
        self._started = time.monotonic()
        self._tokens = {"slm": 0, "llm": 0}
        self._accuracy = self._accuracy_text()

    def count_token(self, step: Step) -> None:
        self._tokens[step.role] += 1

    def add_answer(self, task: Task, answer: Answer) -> None:
        self._done += 1
        self._answers[task.key] = answer
        self._accuracy = self._accuracy_text()
        self.print_line(self._line(answer))

    def render(self) -> RenderableType:
        seconds = max(time.monotonic() - self._started, 1e-9)
        done = self._done_before + self._done
        remaining = _duration((self._total - done) * seconds / self._done) if self._done else "--"
        tokens = sum(self._tokens.values())
        llm_share = f"{self._tokens['llm'] / tokens:.1%}" if tokens else "--"
        lines = (
            f"{done}/{self._total} done  {_duration(seconds)} elapsed, {remaining} remaining",
            f"{self._accuracy}  LLM {llm_share}  {tokens / seconds:.1f} tok/s",
            status_text(self._status()),
        )
        # A ProgressBar does not end its line; rows of a grid do.
        block = Table.grid()
        block.add_row(ProgressBar(total=max(self._total, 1), completed=done, width=min(60, self.console.width)))
        for line in lines:
            block.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
        return block

    def _line(self, answer: Answer) -> str:
        slm, llm = answer["tokens"]["slm"], answer["tokens"]["llm"]
        llm_share = f", {llm / (slm + llm):.0%} LLM" if slm + llm else ""
        sample = f" sample {answer['sample']}" if answer["sample"] else ""
        position = f"{self._done_before + self._done}/{self._total}"
        return (
            f"{position}  {one_line(answer['id'], 40)}{sample}: {_verdict(answer)}; "
            f"{slm + llm} tokens{llm_share}, {human_seconds((answer['wall_ms'] or 0) / 1e3)}; {self._accuracy}"
        )

    def _accuracy_text(self) -> str:
        mean, interval, _ = accuracy(self._answers.values())
        if mean is None or interval is None:
            return "accuracy: no gold answers yet"
        return f"accuracy {mean:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def print_notes(console: Console, problem_file: ProblemFile) -> None:
    """Name the first skipped rows of a problem file, count the others, and say which gold answers are missing."""
    print_bad_rows(console, problem_file.name, problem_file.unit, problem_file.bad_rows)
    if problem_file.gold_note:
        print_line(console, problem_file.gold_note)


def print_bad_rows(console: Console, name: str, unit: str, bad_rows: Sequence[BadRow]) -> None:
    """Name the first skipped rows of a file and count the others."""
    for row in bad_rows[:_SHOWN_BAD_ROWS]:
        print_line(console, f"{name}, {unit} {row.line} is skipped: {row.reason}.")
    others = len(bad_rows) - _SHOWN_BAD_ROWS
    if others > 0:
        print_line(console, f"{others:,} more rows are skipped.")


def status_text(status: Status) -> str:
    """Return one line on the sequences in use and the models they wait for."""
    waiting = ", ".join(f"{count} waiting for the {role.name}" for role, count in status.waiting.items() if count)
    preempted = f"; {status.preempted} preempted" if status.preempted else ""
    return f"{status.active} of {status.slots} sequences active" + (f": {waiting}" if waiting else "") + preempted


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return the summary of a run as a few lines of text."""
    problems = summary["problems"]
    samples = f", {summary['samples']} samples" if summary["samples"] != problems else ""
    lines = [f"{problems} problem{'' if problems == 1 else 's'}{samples}"]
    if summary["accuracy"] is not None:
        low, high = summary["ci95"]
        lines[0] += f", {summary['correct']} of {summary['graded']} answers correct"
        lines.append(f"Accuracy {summary['accuracy']:.1%} (95 % confidence interval {low:.1%} to {high:.1%})")
    if len(summary["pass_at"]) > 1:
        for name, key in (("pass", "pass_at"), ("maj", "maj_at")):
            lines.append("  ".join(f"{name}@{k} {value:.1%}" for k, value in summary[key].items()))
    lines += _cost_lines(summary)
    if summary["errors"]:
        lines.append(f"{summary['errors']} ended in an error; run the same command again to retry them")
    return "\n".join(lines)


def _cost_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    tokens = summary["tokens"]["slm"] + summary["tokens"]["llm"]
    if tokens:
        swaps = summary["swaps"]
        lines.append(
            f"{tokens:,} tokens, {summary['llm_share']:.1%} by the LLM; swaps {swaps['up']:,} up, "
            f"{swaps['down']:,} down; {summary['catch_up_tokens']:,} catch-up tokens"
        )
    seconds = summary["seconds_per_problem"]
    if seconds["mean"] is not None:
        rate = summary["tokens_per_second"]
        lines.append(
            f"{human_seconds(seconds['mean'])} per problem (median {human_seconds(seconds['median'])})"
            + (f", {rate:.1f} tok/s" if rate else "")
        )
    if summary.get("llm_alone_seconds"):
        llm_seconds = summary["llm_alone_seconds"] / summary["problems"]
        lines.append(f"Estimate for the LLM alone, same tokens: {human_seconds(llm_seconds)} per problem (calibration)")
    return lines


def print_line(console: Console, text: str) -> None:
    """Print a text that may be from a file, without markup and line breaks of its own."""
    console.print(single_line(text), markup=False, highlight=False, soft_wrap=True)


def _verdict(answer: Answer) -> str:
    if answer["stop"] == "error":
        return f"error ({one_line(answer['error'] or '')})"
    text = "no answer" if answer["answer"] is None else one_line(answer["answer"], 40)
    if answer["correct"] is None:
        return text
    verdict = f"{text} is correct" if answer["correct"] else f"{text} is wrong, gold {one_line(answer['gold'], 40)}"
    return verdict + (" (truncated)" if answer["stop"] == "length" else "")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
