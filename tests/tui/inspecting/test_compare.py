"""Two answers side by side with the tiny pair, and the verdict on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspecting_shell import Shell, ShellPilot, answer, request_for, run, until
from textual.containers import VerticalScroll
from textual.widgets import Static
from tiny_pair import TinyPair, write_pair

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import Usage
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Answer
from rstitch_tui.comparison import final_answer, length_and_time, same_answer, verdict
from rstitch_tui.screens.compare import CompareScreen
from rstitch_tui.widgets.answer_metrics import AnswerMetrics
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.token_view import TokenView

NEW = "entropy:0.6"


def verdict_line(screen: CompareScreen) -> str:
    return str(screen.query_one("#verdict", Static).content)


def texts(screen: CompareScreen) -> list[str]:
    return ["".join(step.text for step in view.steps) for view in screen.query(TokenView)]


async def generated(
    shell: Shell, pilot: ShellPilot, screen: CompareScreen, *, extend: bool = True, **options: Any
) -> Answer:
    """Generate the new answer and pass it to the screen as the app does."""
    new = Answer(request_for(router=NEW, **options))
    shell.engine.generate(new)
    for _ in range(3000):
        steps = new.take_steps()
        if steps and extend:
            screen.show(new.trace)
        if new.ended:
            break
        await pilot.pause()
    assert new.ended
    screen.show(new.trace)
    screen.finish(new.error.message if new.error else "")
    await pilot.pause()
    return new


@pytest.mark.parametrize("extend", [True, False])
def test_both_answers_are_shown_and_compared(tiny_pair: TinyPair, extend: bool) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        screen = CompareScreen(old, NEW, shell.engine.stop)
        await shell.push_screen(screen)
        assert texts(screen) == [old.text, ""]
        assert "tau 0.6: generating" in verdict_line(screen)
        new = await generated(shell, pilot, screen, extend=extend)
        assert new.trace is not None
        assert new.trace.text != old.text
        # All steps are drawn at the end, also without calls of `show` before.
        assert texts(screen) == [old.text, new.trace.text]
        assert verdict_line(screen).startswith("tau 0.6: ")
        assert f"{new.trace.llm_share:.0%} instead of {old.llm_share:.0%} LLM tokens" in verdict_line(screen)
        headings = [str(heading.content) for heading in screen.query(".heading").results(Static)]
        assert headings[0].startswith("Before · tau 0.2 · 60 tokens · ")
        assert headings[1].startswith("Now · tau 0.6 · 60 tokens · ")
        assert [strip.tau for strip in screen.query(EntropyStrip)] == [0.2, 0.6]
        assert [
            f"swaps ▲{trace.swaps_up} ▼{trace.swaps_down}" in str(figures.content)
            for trace, figures in zip((old, new.trace), screen.query(AnswerMetrics), strict=True)
        ] == [True, True]
        await pilot.press("escape")
        await until(pilot, lambda: shell.screen is not screen)

    run(body, tiny_pair)


def test_answer_that_ends_before_the_screen_is_mounted(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        _, new = await answer(shell, pilot, router=NEW)
        screen = CompareScreen(old, NEW, shell.engine.stop)
        screen.show(new)
        screen.finish()
        await shell.push_screen(screen)
        assert texts(screen) == [old.text, new.text]
        assert "instead of" in verdict_line(screen)

    run(body, tiny_pair)


def test_escape_stops_then_closes(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        stops: list[None] = []
        screen = CompareScreen(old, NEW, lambda: stops.append(None))
        await shell.push_screen(screen)
        await pilot.press("escape")
        assert len(stops) == 1
        assert shell.screen is screen
        screen.show(replace(old, stop="interrupted"))
        screen.finish()
        await pilot.pause()
        assert "unfinished: the new" in verdict_line(screen)
        await pilot.press("escape")
        await until(pilot, lambda: shell.screen is not screen)
        assert len(stops) == 1

    run(body, tiny_pair)


def test_second_escape_closes_without_an_end(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot, max_tokens=3)
        screen = CompareScreen(old, NEW, shell.engine.stop)
        await shell.push_screen(screen)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: shell.screen is not screen)

    run(body, tiny_pair)


def test_error_is_shown_as_plain_text(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot, max_tokens=3)
        screen = CompareScreen(old, "llm", shell.engine.stop)
        await shell.push_screen(screen)
        screen.finish("[bold]No room\x1b[2J")
        await pilot.pause()
        assert verdict_line(screen) == "[bold]No room[2J"
        await pilot.press("escape")
        await until(pilot, lambda: shell.screen is not screen)

    run(body, tiny_pair)


@pytest.mark.parametrize(
    ("size", "beside"), [((140, 45), True), ((80, 24), True), ((79, 24), False), ((40, 10), False)]
)
def test_layout_by_terminal_size(tiny_pair: TinyPair, size: tuple[int, int], beside: bool) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        screen = CompareScreen(old, NEW, shell.engine.stop)
        await shell.push_screen(screen)
        await generated(shell, pilot, screen)
        one, other = (scroll.region for scroll in screen.query(VerticalScroll))
        assert (one.y == other.y) is beside
        assert (one.x == other.x) is not beside
        assert min(one.height, other.height) >= 1
        whole = screen.region
        for part in ("#verdict", "Footer"):
            region = screen.query_one(part).region
            assert region.area > 0
            assert whole.contains_region(region)

    run(body, tiny_pair, size)


def test_new_answer_is_followed_unless_scrolled_up(tiny_pair: TinyPair) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        old.steps *= 20
        screen = CompareScreen(old, NEW, shell.engine.stop)
        await shell.push_screen(screen)
        left, right = screen.query(VerticalScroll)
        new = replace(old, steps=old.steps[:900])
        screen.show(new)
        await until(pilot, lambda: right.max_scroll_y > 0 and right.scroll_offset.y == right.max_scroll_y)
        assert left.scroll_offset.y == 0 < left.max_scroll_y
        right.scroll_to(y=1, animate=False)
        await until(pilot, lambda: right.scroll_offset.y == 1)
        end = right.max_scroll_y
        screen.show(old)
        await until(pilot, lambda: right.max_scroll_y > end)
        for _ in range(5):
            await pilot.pause()
        assert right.scroll_offset.y == 1

    run(body, tiny_pair, (80, 15))


def test_equal_final_answers(tmp_path: Path) -> None:
    async def body(shell: Shell, pilot: ShellPilot) -> None:
        _, old = await answer(shell, pilot)
        assert old.stop == "eog"
        screen = CompareScreen(old, NEW, shell.engine.stop)
        await shell.push_screen(screen)
        await generated(shell, pilot, screen)
        assert verdict_line(screen).endswith("same final answer (43).")

    run(body, write_pair(tmp_path, {"answer": "=43"}, {"answer": "=43"}))


# The verdict


def trace_of(
    text: str,
    *,
    llm: int = 1,
    slm: int = 3,
    ms: float = 100.0,
    prompt_ms: float = 50.0,
    router: str = "entropy:0.02",
    **fields: Any,
) -> Trace:
    steps = [Step(i, Role.SLM, 0, "", 0.0, 1.0, 1, 1.0) for i in range(llm + slm - 1)]
    steps.append(Step(len(steps), Role.SLM, 0, text, 0.0, 1.0, 1, 1.0))
    usage = {
        Role.SLM: Usage([9, 0, slm], [int(prompt_ms * 1e6), 0, int(ms * 1e6 / 4)]),
        Role.LLM: Usage([9, llm, 0], [int(prompt_ms * 1e6), int(ms * 1e6 * 3 / 4), 0]),
    }
    fields = {"stop": "eog", **fields}
    return Trace(0, {"router": router}, steps=steps, usage=usage, tokens={Role.SLM: slm, Role.LLM: llm}, **fields)


def test_verdict() -> None:
    old = trace_of(r"So it is \boxed{42}.", ms=400.0, prompt_ms=999.0)
    new = trace_of(r"It is \boxed{ 42 }", llm=1, slm=9, ms=500.0, router="entropy:0.08", prompt_ms=0.0)
    assert verdict(old, new) == (
        "tau 0.08: 2.0x faster per token (50 instead of 100 ms, measured on only 4 tokens), 10% instead of 25% LLM "
        "tokens; same final answer (42)."
    )
    slower = verdict(new, trace_of("It is 43", ms=300.0, router="llm"))
    assert slower.startswith("llm: 1.5x slower per token (75 instead of 50 ms, measured on only 4 tokens), 25% ")
    assert slower.endswith("different final answer (42 before, 43 now).")
    empty = verdict(old, trace_of("", ms=404.0))
    assert "same speed per token (101 ms, measured on only 4 tokens)" in empty
    assert empty.endswith("different final answer (42 before, none now).")


def test_verdict_agrees_with_the_times_in_the_headings() -> None:
    old, new = trace_of("42", slm=99, ms=4000.0, prompt_ms=9.0), trace_of("42", slm=119, ms=3600.0, prompt_ms=700.0)
    assert (length_and_time(old), length_and_time(new)) == ("100 tokens · 4.0 s", "120 tokens · 3.6 s")
    assert "1.3x faster per token (30 instead of 40 ms), " in verdict(old, new)


def test_length_and_time_of_a_resumed_answer_are_those_of_the_new_part() -> None:
    assert length_and_time(trace_of("42", slm=63, llm=0, ms=12.0, resumed_tokens=60)) == "3 new of 63 tokens · 12 ms"


def test_verdict_on_unfinished_answers() -> None:
    whole, cut = trace_of("42"), trace_of("42", stop="length")
    assert verdict(whole, cut).endswith("; unfinished: the new answer.")
    assert verdict(cut, whole).endswith("; unfinished: the old answer.")
    assert verdict(cut, cut).endswith("; unfinished: the new and the old answer.")


def test_resumed_answer_has_no_pace() -> None:
    part = trace_of("42", slm=7, llm=1, resumed_tokens=4, router="entropy:0.5")
    assert verdict(trace_of("42"), part).startswith("tau 0.5: 12% instead of 25% LLM tokens; ")
    assert verdict(part, trace_of("42")).startswith("tau 0.02: 25% instead of 12% LLM tokens; ")
    empty = Trace(0, {"router": "entropy:0.5"}, stop="interrupted")
    assert verdict(part, empty).startswith("tau 0.5: 0% instead of 12% LLM tokens; ")


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (r"3 + 4 = \boxed{7}. Check: 7.", "7"),
        ("<think>It may be 5.</think>It is 1,234.5, as said.", "1,234.5"),
        ("Eight.\n#### 8", "8"),
        ("-3", "-3"),
        ("No\n number", "No number"),
        ("", ""),
    ],
)
def test_final_answer(text: str, final: str) -> None:
    assert final_answer(text) == final


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("7", "7", True),
        ("1,234.50", "1234.5", True),
        (r"\frac12", r"\dfrac{1}{2}", True),
        ("7", "8", False),
        ("yes", "no", False),
        ("a" * 500, "a" * 500, True),
        ("a" * 500, "a" * 499, False),
        ("", "", True),
    ],
)
def test_same_answer(one: str, other: str, same: bool) -> None:
    assert same_answer(one, other) is same
