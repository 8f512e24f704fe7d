"""One answer on a terminal: its text by model, a line of the entropy, where control passed, and the sums.

Knows characters and rich; nothing of files. Where there are no colours (a pipe, NO_COLOR) what the LLM wrote stands
between brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from rstitch_local.commands.ask import STYLES, summary_line
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import one_line, safe_text, visible
from rstitch_local.study.trace_source import LoadedAnswer
from rstitch_local.trace.page.chart import level, tau_at, tau_at_start
from rstitch_local.trace.page.figures import STOPS, circumstances
from rstitch_local.trace.page.tokens import entropy_words
from rstitch_local.trace.record import Trace

OPEN, CLOSE = "⟦", "⟧"
"""What the LLM wrote, where there are no colours."""

_BARS = "▁▂▃▄▅▆▇█"
_HALF = len(_BARS) // 2
_UP, _DOWN, _RUN = "▲", "▼", "━"
_MOST_SWAPS = 12
_NARROWEST = 20
_VERDICTS = {True: "green", False: "red", None: ""}


def print_answer(looked: LoadedAnswer, screen: Console) -> None:
    """Show an answer, as wide as the screen is."""
    trace = looked.trace
    coloured = screen.is_terminal and screen.color_system is not None

    def say(text: str | Text = "", style: str = "") -> None:
        if coloured:
            screen.print(text, style=style, soft_wrap=True)
        else:
            # Not through rich, which turns tabs into spaces.
            screen.file.write(f"{text}\n")

    if looked.title:
        say(looked.title, "bold")
    right, verdict = looked.verdict
    if verdict:
        say(verdict, _VERDICTS[right])
    if looked.question:
        say(safe_text(looked.question), "dim")
    say()
    say(answer_text(trace.steps, safe_text(looked.prefix), coloured=coloured))
    say()
    if trace.steps:
        for line in entropy_lines(trace, max(_NARROWEST, screen.width)):
            say(line)
        say()
    for swap in swap_lines(trace):
        say(swap, "dim")
    say(summary_line(trace))
    made = [f"{name} {one_line(value)}" for name, value in circumstances(trace).items()]
    say(" · ".join([STOPS.get(trace.stop or "", "not at its end"), *made]), "dim")


def answer_text(steps: Sequence[Step], prefix: str = "", *, coloured: bool) -> Text:
    """The text, what the LLM wrote in its colour or, without colours, between brackets."""
    shown = Text()
    shown.append(prefix, style="dim")
    for role, group in groupby(steps, key=lambda step: step.role):
        written = safe_text("".join(step.text for step in group))
        if role is Role.LLM and written and not coloured:
            written = f"{OPEN}{written}{CLOSE}"
        shown.append(written, style=STYLES[role])
    return shown


def entropy_lines(trace: Trace, width: int) -> Iterator[Text]:
    """The entropy of each token as a bar, in rows of at most `width` cells, with a row of marks below each.

    Where a tau decided, half the height is tau, so that whatever is higher was above it. A bar of a token at which
    control went up is that of the SLM that was unsure of it.
    """
    steps = trace.steps
    tau = tau_at_start(trace)
    scale = "logarithmic" if tau is None else f"bars over half the height ({_BARS[_HALF]} and up) are above tau"
    if tau is not None:
        values = list(dict.fromkeys([tau, *(value for _, value in trace.taus)]))
        scale += " " + ", then ".join(f"{value:g}" for value in values)
    yield Text(f"Entropy of each token, {scale}; {_UP} the LLM took over, {_DOWN} the SLM again", style="dim")
    gutter = len(str(len(steps) - 1)) + 1
    cells = width - gutter
    for start in range(0, len(steps), cells):
        bars, marks = Text(f"{start:>{gutter - 1}} ", style="dim"), ""
        for index in range(start, min(start + cells, len(steps))):
            step = steps[index]
            entropy = step.entropy if step.swap_entropy is None else step.swap_entropy
            bars.append(_BARS[height(entropy, tau_at(trace, index))], style=_BAR_STYLES[step.role])
            marks += _mark(steps, index)
        yield bars
        if marks.strip():
            yield Text(" " * gutter + marks.rstrip(), style="cyan")


_BAR_STYLES = {Role.SLM: "not dim", Role.LLM: "not dim cyan"}


def height(entropy: float, tau: float | None) -> int:
    """Which bar stands for an entropy, 0 to 7: up to 3 where it is not above tau, from 4 where it is."""
    here = level(entropy)
    if tau is None:
        return min(len(_BARS) - 1, int(here * len(_BARS)))
    middle = level(tau)
    if not entropy > tau:
        return min(_HALF - 1, int(_HALF * here / middle)) if middle > 0 else 0
    return _HALF + (min(_HALF - 1, int(_HALF * (here - middle) / (1 - middle))) if middle < 1 else _HALF - 1)


def _mark(steps: Sequence[Step], index: int) -> str:
    step = steps[index]
    if step.swap_entropy is not None:
        return _UP
    if step.role is Role.LLM:
        return _RUN
    return _DOWN if index and steps[index - 1].role is Role.LLM else " "


def swap_lines(trace: Trace) -> Iterator[str]:
    """A line for each of the first places where the LLM took over: how unsure the SLM was, and what came of it."""
    steps = trace.steps
    ups = [index for index, step in enumerate(steps) if step.swap_entropy is not None]
    for index in ups[:_MOST_SWAPS]:
        step = steps[index]
        # The SLM can have been asked in between, and have been unsure at once.
        goes_on = (
            at
            for at in range(index + 1, len(steps))
            if steps[at].role is Role.SLM or steps[at].swap_entropy is not None
        )
        end = next(goes_on, len(steps))
        wrote = "".join(step.text for step in steps[index:end])
        count = "1 token" if end - index == 1 else f"{end - index} tokens"
        entropy = entropy_words(trace, Role.SLM, step.swap_entropy or 0.0)
        shown = one_line(visible(wrote), 48)
        yield f"{_UP} token {step.position}: SLM entropy {entropy}; the LLM wrote {count}: {shown}"
    if len(ups) > _MOST_SWAPS:
        yield f"  and {len(ups) - _MOST_SWAPS} more; --html shows them all"
