"""One answer on a terminal: its text by model, a chart of the entropies, the swaps, the totals.

Without colors (a pipe, NO_COLOR) the text of the LLM is in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.sanitize import one_line, safe_text, visible
from rstitch_local.trace.labels import entropy_label, settings_of, stop_reason, summary_line
from rstitch_local.trace.reading import LoadedAnswer
from rstitch_local.trace.record import Trace
from rstitch_local.trace.scale import level, tau_at, tau_at_start

# Most color-blind readers can tell cyan from the default color; everybody can see the underline.
ROLE_STYLES = {Role.SLM: "", Role.LLM: "cyan underline"}
"""rich styles of the text of each model."""

OPEN, CLOSE = "⟦", "⟧"
"""Brackets around the text of the LLM where there are no colors."""

_BARS = "▁▂▃▄▅▆▇█"
_HALF = len(_BARS) // 2
_BAR_STYLES = {Role.SLM: "not dim", Role.LLM: "not dim cyan"}
_UP, _DOWN, _LLM = "▲", "▼", "━"
_MAX_SWAPS = 12
_MIN_WIDTH = 20
_VERDICT_STYLES = {True: "green", False: "red", None: ""}


def print_answer(answer: LoadedAnswer, console: Console) -> None:
    """Print an answer, as wide as the console."""
    trace = answer.trace
    colored = console.is_terminal and console.color_system is not None

    def show(text: str | Text = "", style: str = "") -> None:
        if colored:
            console.print(text, style=style, soft_wrap=True)
        else:
            # Not through rich, which turns tabs into spaces.
            console.file.write(f"{text}\n")

    if answer.title:
        show(answer.title, "bold")
    if answer.verdict:
        show(answer.verdict, _VERDICT_STYLES[answer.correct])
    if answer.question:
        show(safe_text(answer.question), "dim")
    show()
    show(answer_text(trace.steps, safe_text(answer.prefix), colored=colored))
    show()
    if trace.steps:
        for line in entropy_lines(trace, max(_MIN_WIDTH, console.width)):
            show(line)
        show()
    for swap in swap_lines(trace):
        show(swap, "dim")
    show(summary_line(trace))
    settings = [f"{name} {one_line(value)}" for name, value in settings_of(trace).items()]
    show(" · ".join([stop_reason(trace), *settings]), "dim")


def answer_text(steps: Sequence[Step], prefix: str = "", *, colored: bool) -> Text:
    """Return the text, with the LLM's part in its color or, without colors, in brackets."""
    shown = Text()
    shown.append(prefix, style="dim")
    for role, group in groupby(steps, key=lambda step: step.role):
        text = safe_text("".join(step.text for step in group))
        if role is Role.LLM and text and not colored:
            text = f"{OPEN}{text}{CLOSE}"
        shown.append(text, style=ROLE_STYLES[role])
    return shown


def entropy_lines(trace: Trace, width: int) -> Iterator[Text]:
    """Yield the entropy of each token as a bar, in rows of at most `width` cells, each followed by a row of marks.

    With a threshold, tau is at half the height, so that higher bars are above it. At a swap to the LLM the bar shows
    the entropy of the SLM.
    """
    steps = trace.steps
    tau = tau_at_start(trace)
    scale = "logarithmic scale" if tau is None else f"bars over half the height ({_BARS[_HALF]} and up) are above tau"
    if tau is not None:
        values = list(dict.fromkeys([tau, *(value for _, value in trace.taus)]))
        scale += " " + ", then ".join(f"{value:g}" for value in values)
    yield Text(f"Entropy of each token, {scale}; {_UP} swap to the LLM, {_DOWN} back to the SLM", style="dim")
    gutter = len(str(len(steps) - 1)) + 1
    cells = width - gutter
    for start in range(0, len(steps), cells):
        bars, marks = Text(f"{start:>{gutter - 1}} ", style="dim"), ""
        for index in range(start, min(start + cells, len(steps))):
            step = steps[index]
            entropy = step.entropy if step.swap_entropy is None else step.swap_entropy
            bars.append(_BARS[bar_height(entropy, tau_at(trace, index))], style=_BAR_STYLES[step.role])
            marks += _mark(steps, index)
        yield bars
        if marks.strip():
            yield Text(" " * gutter + marks.rstrip(), style="cyan")


def bar_height(entropy: float, tau: float | None) -> int:
    """Return the height of the bar for an entropy, 0 to 7: up to 3 if it is not above tau, from 4 if it is."""
    entropy_level = level(entropy)
    if tau is None:
        return min(len(_BARS) - 1, int(entropy_level * len(_BARS)))
    tau_level = level(tau)
    if not entropy > tau:
        return min(_HALF - 1, int(_HALF * entropy_level / tau_level)) if tau_level > 0 else 0
    if tau_level >= 1:
        return len(_BARS) - 1
    return _HALF + min(_HALF - 1, int(_HALF * (entropy_level - tau_level) / (1 - tau_level)))


def _mark(steps: Sequence[Step], index: int) -> str:
    step = steps[index]
    if step.swap_entropy is not None:
        return _UP
    if step.role is Role.LLM:
        return _LLM
    return _DOWN if index and steps[index - 1].role is Role.LLM else " "


def swap_lines(trace: Trace) -> Iterator[str]:
    """Yield a line for each of the first swaps to the LLM: the entropy of the SLM, and the text of the LLM."""
    steps = trace.steps
    swaps = [index for index, step in enumerate(steps) if step.swap_entropy is not None]
    for index in swaps[:_MAX_SWAPS]:
        step = steps[index]
        # A second swap may follow directly: the SLM had control in between and generated no token.
        ends = (at for at in range(index + 1, len(steps)) if _ends_visit(steps[at]))
        end = next(ends, len(steps))
        text = "".join(step.text for step in steps[index:end])
        count = "1 token" if end - index == 1 else f"{end - index} tokens"
        entropy = entropy_label(trace, Role.SLM, step.swap_entropy or 0.0)
        yield f"{_UP} token {step.position}: SLM entropy {entropy}; LLM, {count}: {one_line(visible(text), 48)}"
    if len(swaps) > _MAX_SWAPS:
        yield f"  and {len(swaps) - _MAX_SWAPS} more; --html shows all of them"


def _ends_visit(step: Step) -> bool:
    return step.role is Role.SLM or step.swap_entropy is not None
