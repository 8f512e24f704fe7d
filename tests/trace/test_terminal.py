"""A trace as terminal text: brackets and colors, the chart of the entropies, untrusted text."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.reading import LoadedAnswer
from rstitch_local.trace.record import Trace
from rstitch_local.trace.terminal import bar_height, entropy_lines, print_answer


def test_untrusted_text_has_no_control_characters() -> None:
    nasty = "\x1b[2J\x9b\u202e[bold]x[/bold]"
    steps = [Step(0, Role.LLM, 1, nasty, 0.5, 0.5, 1, 1.0, 0.6), Step(1, Role.SLM, 1, nasty, 0.5, 0.5, 1, 1.0)]
    trace = Trace(1, {"pair": nasty, "router": nasty}, steps, stop=nasty)
    for terminal in (False, True):
        out = StringIO()
        console = Console(file=out, force_terminal=terminal, color_system=None, markup=False)
        print_answer(LoadedAnswer("x", trace, nasty, prefix=nasty), console)
        assert not re.search("[\x1b\x9b\u202e]", out.getvalue())
        assert out.getvalue().count("[bold]x[/bold]") >= 6


def test_without_colors_the_llm_is_in_brackets() -> None:
    steps = [
        Step(0, Role.SLM, 1, "It is", 0.001, 0.9, 1, 1.0),
        Step(1, Role.LLM, 2, " four", 0.1, 0.9, 2, 1.0, 0.3),
        Step(2, Role.LLM, 2, "teen", 0.1, 0.9, 2, 1.0),
        Step(3, Role.SLM, 3, ".", 0.001, 0.9, 3, 1.0),
    ]
    trace = Trace(1, {"router": "entropy:0.02"}, steps, stop="length")
    out = StringIO()
    answer = LoadedAnswer("sums/1", trace, "What?", True, "correct: 14")
    print_answer(answer, Console(file=out, width=60, color_system=None))
    lines = out.getvalue().splitlines()
    assert lines[:5] == ["sums/1", "correct: 14", "What?", "", "It is⟦ fourteen⟧."]
    assert "▲ token 1: SLM entropy 0.3000; LLM, 2 tokens: ␣fourteen" in lines
    assert lines[-1] == "truncated: max_tokens or the context limit was reached · router entropy:0.02 · seed 1"


def test_the_error_of_a_failed_answer_is_shown() -> None:
    out = StringIO()
    trace = Trace(1, {"router": "slm"}, stop="error", error="NaN\x1b[2J in the logits.")
    print_answer(LoadedAnswer("", trace), Console(file=out, color_system=None))
    assert "failed: NaN[2J in the logits. · router slm" in out.getvalue()


def trace_with_swaps(count: int) -> Trace:
    """A trace in which every seventh token is from the LLM, after a swap."""
    steps = [
        Step(
            position,
            Role.LLM if position % 7 == 3 else Role.SLM,
            1,
            "x",
            0.001,
            0.9,
            1,
            1.0,
            0.3 if position % 7 == 3 else None,
        )
        for position in range(count)
    ]
    return Trace(1, {"router": "entropy:0.02"}, steps)


@pytest.mark.parametrize(("count", "width"), [(1, 20), (95, 40), (100, 103), (1000, 80), (12345, 60)])
def test_every_token_has_a_bar_and_rows_fit_the_width(count: int, width: int) -> None:
    rows = [row.plain for row in entropy_lines(trace_with_swaps(count), width)][1:]
    assert max(map(len, rows)) <= width
    bars = [row for row in rows if re.match(r" *\d", row)]
    gutter = len(str(count - 1)) + 1
    assert sum(len(row) - gutter for row in bars) == count
    starts = [int(row.split()[0]) for row in bars]
    assert starts == list(range(0, count, width - gutter))
    all_bars = "".join(row[gutter:] for row in bars)
    swaps = [position for position in range(count) if position % 7 == 3]
    assert [position for position, bar in enumerate(all_bars) if bar > "▄"] == swaps
    # Each mark is below its bar.
    for number, row in enumerate(bars):
        marks = [*rows, ""][rows.index(row) + 1]
        if "▲" in marks:
            marked = [starts[number] + at for at, mark in enumerate(marks[gutter:]) if mark == "▲"]
            assert marked == [at for at in swaps if starts[number] <= at < starts[number] + width - gutter]


def test_tau_is_at_half_the_height() -> None:
    for tau in (0.0001, 0.0005, 0.001, 0.02, 0.5, 0.999, 1.0, 2.0, float("inf"), -1.0):
        heights = [bar_height(entropy, tau) for entropy in (0.0, 1e-9, 0.0004, 0.003, 0.02, 0.0201, 0.4, 0.6, 1.0)]
        assert heights == sorted(heights)
        assert set(heights) <= set(range(8))
        for entropy in (0.0, 0.0006, 0.02, 0.0201, 1.0):
            assert (bar_height(entropy, tau) >= 4) == (entropy > tau)
    assert [bar_height(entropy, None) for entropy in (0.0, 1.0)] == [0, 7]
