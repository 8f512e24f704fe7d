"""How a run looks while it goes: one live block on a terminal, one line an answer anywhere else.

Knows rich and the lines of an answers file. What comes from files is shown as text, never as markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rstitch_local.engine.driver import Status
from rstitch_local.problems.metrics import accuracy
from rstitch_local.problems.run_folder import Answer
from rstitch_local.problems.solve import Task
from rstitch_local.sanitize import one_line

_REFRESH_PER_SECOND = 4


class Progress:
    """Observer of a solving loop. Use it in `with`.

    Args:
        console: where it is drawn; a terminal gets the live block, a file one line an answer.
        total: how many tasks there are, those done before included.
        done: how many of them were done before.
        before: the answers that were there already, which count in the accuracy.
        status: asks the pair how busy it is.
    """

    def __init__(
        self, console: Console, total: int, done: int, before: Sequence[Answer], status: Callable[[], Status]
    ) -> None:
        self._console = console
        self._total = total
        self._answers = {(row["id"], row["sample"]): row for row in before}
        self._done_before = done
        self._done = 0
        self._began = time.monotonic()
        self._tokens = {"slm": 0, "llm": 0}
        self._status = status
        self._figures = self._accuracy()
        self._live = Live(
            console=console,
            get_renderable=self._block,
            refresh_per_second=_REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def started(self, task: Task) -> None:
        """A problem was begun; the pair's own status tells how many there are."""

    def stepped(self, step: Any) -> None:
        """A token was kept."""
        self._tokens[step.role] += 1

    def finished(self, task: Task, answer: Answer) -> None:
        """Its answer is on the disk."""
        self._done += 1
        self._answers[task.key] = answer
        self._figures = self._accuracy()
        if not self._console.is_terminal:
            self._console.print(self._line(answer), markup=False, highlight=False, soft_wrap=True)

    def _line(self, answer: Answer) -> str:
        slm, llm = answer["tokens"]["slm"], answer["tokens"]["llm"]
        share = f", {llm / (slm + llm):.0%} LLM" if slm + llm else ""
        sample = f" sample {answer['sample']}" if answer["sample"] else ""
        place = f"{self._done_before + self._done}/{self._total}"
        return (
            f"{place}  {one_line(answer['id'], 40)}{sample}: {_verdict(answer)}; "
            f"{slm + llm} tokens{share}, {(answer['wall_ms'] or 0) / 1000:.1f} s; {self._figures}"
        )

    def _accuracy(self) -> str:
        mean, interval, _ = accuracy(self._answers.values())
        if mean is None or interval is None:
            return "accuracy: no gold answers yet"
        return f"accuracy {mean:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"

    def _block(self) -> RenderableType:
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = self._done_before + self._done
        left = self._total - done
        eta = _duration(left * seconds / self._done) if self._done else "--"
        written = sum(self._tokens.values())
        share = f"{self._tokens['llm'] / written:.1%}" if written else "--"
        first = f"{done}/{self._total} done  {_duration(seconds)} gone, {eta} to go"
        second = f"{self._figures}  LLM {share}  {written / seconds:.1f} tok/s"
        third = slots_text(self._status())
        # A bar ends no line of its own accord; in a grid every part has a row to itself.
        block = Table.grid()
        block.add_row(ProgressBar(total=max(self._total, 1), completed=done, width=min(60, self._console.width)))
        for line in (first, second, third):
            block.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
        return block


def slots_text(status: Status) -> str:
    """How many answers are being written and what they wait for, in a line."""
    waiting = ", ".join(f"{count} at the {role.name}" for role, count in status.waiting.items() if count)
    again = f"; {status.preempted} wait for room in the caches" if status.preempted else ""
    return f"{status.active} of {status.slots} slots in use" + (f": {waiting}" if waiting else "") + again


def summary_text(figures: dict[str, Any]) -> str:
    """The summary of a run in a few lines for people."""
    problems = figures["problems"]
    lines = [f"{problems} problem{'' if problems == 1 else 's'}" + _samples(figures)]
    if figures["accuracy"] is not None:
        low, high = figures["ci95"]
        lines[0] += f", {figures['correct']} of {figures['graded']} answers right"
        lines.append(f"Accuracy {figures['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})")
    if len(figures["pass_at"]) > 1:
        for name, key in (("pass", "pass_at"), ("maj", "maj_at")):
            lines.append("  ".join(f"{name}@{k} {value:.1%}" for k, value in figures[key].items()))
    tokens = figures["tokens"]["slm"] + figures["tokens"]["llm"]
    if tokens:
        swaps = figures["swaps"]
        lines.append(
            f"{tokens:,} tokens, {figures['llm_share']:.1%} by the LLM; swaps {swaps['up']:,} up, "
            f"{swaps['down']:,} down; {figures['catch_up_tokens']:,} tokens evaluated to catch up"
        )
    seconds = figures["seconds_per_problem"]
    if seconds["mean"] is not None:
        rate = figures["tokens_per_second"]
        lines.append(
            f"{seconds['mean']:.1f} s a problem (median {seconds['median']:.1f})"
            + (f", {rate:.1f} tok/s" if rate else "")
        )
    if figures.get("llm_alone_seconds"):
        alone = figures["llm_alone_seconds"] / problems
        lines.append(f"The LLM alone would take about {alone:.1f} s a problem for as many tokens, by the calibration")
    if figures["errors"]:
        lines.append(f"{figures['errors']} ended in an error; the same command tries them again")
    return "\n".join(lines)


def _samples(figures: dict[str, Any]) -> str:
    return f", {figures['samples']} samples" if figures["samples"] != figures["problems"] else ""


def _verdict(answer: Answer) -> str:
    if answer["stop"] == "error":
        return f"error ({one_line(answer['error'] or '')})"
    said = "no answer" if answer["answer"] is None else one_line(answer["answer"], 40)
    if answer["correct"] is None:
        return said
    verdict = f"{said} is right" if answer["correct"] else f"{said} is wrong, gold {one_line(answer['gold'], 40)}"
    return verdict + (" (cut off)" if answer["stop"] == "length" else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
