from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color as RichColor
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.color import Color
from textual.containers import Vertical, VerticalScroll
from textual.pilot import Pilot

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.shades import GRAPHICS_CONTRAST, TEXT_CONTRAST, contrast, legible, tinted
from rstitch_tui.widgets.token_text import TokenText
from rstitch_tui.widgets.token_view import TokenView
from rstitch_tui.widgets.wrapping import joins_previous

SLM, LLM = Role.SLM, Role.LLM


def step(text: str, role: Role = SLM, entropy: float = 0.001, unsure: float | None = None, position: int = 0) -> Step:
    return Step(position, role, 7, text, entropy, 0.83, 1, 1.0, unsure)


def steps_of(*texts: str) -> list[Step]:
    return [step(text, position=i) for i, text in enumerate(texts)]


class Host(App[None]):
    """A scrolled column, as the chat has, with a token view inside a box in it."""

    CSS = "Vertical { height: auto; padding: 1; } TokenView { width: 1fr; }"

    def __init__(self, steps: list[Step], above: int = 0) -> None:
        super().__init__()
        self.view = TokenView(steps)
        self.above = TokenView(steps_of(*["\n"] * above))
        self.picked: list[int] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False), Vertical():
            yield self.above
            yield self.view

    def on_token_view_picked(self, event: TokenView.Picked) -> None:
        assert event.control is self.view
        self.picked.append(event.index)


def run(
    check: Callable[[Host, Pilot[None]], Awaitable[None]],
    steps: list[Step],
    *,
    size: tuple[int, int] = (40, 20),
    above: int = 0,
) -> None:
    async def main() -> None:
        host = Host(steps, above)
        async with host.run_test(size=size) as pilot:
            await pilot.pause()
            await check(host, pilot)

    asyncio.run(main())


def rows(view: TokenView) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def look(view: TokenView, text: str) -> Style:
    """The style of the first piece that is drawn as exactly this text."""
    for y in range(view.size.height):
        for segment in view.render_line(y):
            if segment.text == text:
                assert segment.style is not None
                return segment.style
    raise AssertionError(f"{text!r} is not drawn")


def color(rich: RichColor | None) -> Color:
    assert rich is not None
    return Color.from_rich_color(rich)


def test_the_text_is_drawn_in_rows_as_high_as_it_is() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        assert rows(host.view) == ["one two three four five six seven", "eight", "", "nine"]
        host.view.extend(steps_of("\nten"))
        await pilot.pause()
        assert rows(host.view)[-2:] == ["nine", "ten"]

    run(check, steps_of("one two three", " four five six", " seven eight\n", "\nnine"))


def test_a_token_within_the_last_row_is_drawn_without_a_new_layout() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.extend(steps_of(" two"))
        await pilot.pause()
        assert rows(host.view) == ["one two"]
        assert "two" in host.export_screenshot()

    run(check, steps_of("one"))


def test_resizing_breaks_the_rows_anew() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        assert rows(host.view) == ["one two three four"]
        await pilot.resize_terminal(14, 20)
        await pilot.pause()
        assert rows(host.view) == ["one two", "three four"]

    run(check, steps_of("one two", " three four"))


def test_a_small_terminal() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.pause()
        assert max(map(len, rows(host.view))) <= 40
        assert "".join(rows(host.view)).replace(" ", "") == "word," * 200

    run(check, steps_of(*["word, "] * 200), size=(40, 10))


def test_who_wrote_it_is_seen_by_colour_and_by_underline() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        ours, theirs = look(host.view, "small"), look(host.view, " large")
        assert theirs.underline
        assert not ours.underline
        assert ours.color != theirs.color
        host.view.coloured = False
        await pilot.pause()
        plain, other = look(host.view, "small"), look(host.view, " large")
        assert (plain.color, plain.bgcolor, plain.underline) == (other.color, other.bgcolor, other.underline)

    run(check, [step("small"), step(" large", LLM)])


@pytest.mark.parametrize("role", list(Role))
def test_the_less_sure_the_deeper(role: Role) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        ground = color(look(host.view, "a").bgcolor)
        depths = [contrast(color(look(host.view, letter).bgcolor), ground) for letter in "abcdef"]
        assert depths[:5] == sorted(set(depths))
        # From tau on, nothing is any stronger.
        assert depths[4] == depths[5]
        host.view.tau = 0.5
        await pilot.pause()
        assert contrast(color(look(host.view, "e").bgcolor), ground) < depths[4]

    entropies = zip("abcdef", (0.0, 0.001, 0.004, 0.01, 0.02, 0.9), strict=True)
    run(check, [step(letter, role, entropy) for letter, entropy in entropies])


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "solarized-light", "nord", "dracula"])
def test_every_token_can_be_read(theme: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        await pilot.pause()
        for letter in "abcdef":
            style = look(host.view, letter)
            assert contrast(color(style.color), color(style.bgcolor)) >= TEXT_CONTRAST

    run(
        check,
        [step(x, role, e) for x, role, e in zip("abcdef", [SLM, LLM] * 3, (0, 0, 0.005, 0.005, 1, 1), strict=True)],
    )


def test_another_theme_has_other_colours() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        before = look(host.view, "a")
        host.theme = "textual-light"
        await pilot.pause()
        after = look(host.view, "a")
        assert before.color != after.color
        assert before.bgcolor != after.bgcolor
        host.query_one(Vertical).styles.background = "#400000"
        await pilot.pause()
        assert look(host.view, "a").bgcolor != after.bgcolor
        host.theme = "ansi-dark"
        await pilot.pause()
        assert "a" in rows(host.view)

    run(check, steps_of("a"))


def test_what_a_model_writes_is_neither_markup_nor_a_command() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert rows(host.view) == ["[red]x[/red] [/] [31m$accent]0;title"]
        assert "\x1b" not in host.export_screenshot()

    run(check, steps_of("[red]x", "[/red] [/] ", "\x1b[31m", "$accent", "\x1b]0;title\x07\u202e"))


def test_a_click_picks_a_token() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        for x, y in ((0, 0), (4, 0), (7, 0), (0, 1), (20, 0), (1, 1)):
            await pilot.click(host.view, offset=(x, y))
        assert host.picked == [0, 1, 1, 3, 3]

    run(check, steps_of("one", " two", "\n", "你"))


def test_a_drag_selects_and_picks_nothing() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.mouse_down(host.view, offset=(4, 0))
        await pilot.hover(host.view, offset=(36, 1))
        await pilot.mouse_up(host.view, offset=(36, 1))
        await pilot.pause()
        # What was one line is copied as one.
        assert host.screen.get_selected_text() == "two " + "x" * 35 + "yy"
        selected = [s.style.bgcolor for s in host.view.render_line(0) if s.style and s.text.strip()]
        assert len(set(selected)) > 1
        # The terminal reports a click at the end of a drag as well.
        host.view.post_message(events.Click(host.view, 0, 0, 0, 0, 1, False, False, False, *host.view.region.offset))
        await pilot.pause()
        assert host.picked == []
        host.screen.clear_selection()
        await pilot.pause()
        await pilot.click(host.view, offset=(0, 0))
        assert host.picked == [0]

    run(check, steps_of("one ", "two ", "x" * 35, "yyy", "z"), size=(41, 12))


def test_all_is_copied_as_it_was_written() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.text_select_all()
        await pilot.pause()
        assert host.screen.get_selected_text() == "a\tb\n\ncafe\u0301 " + "long " * 30
        await pilot.resize_terminal(20, 20)
        await pilot.pause()
        assert host.screen.get_selected_text() == "a\tb\n\ncafe\u0301 " + "long " * 30

    run(check, steps_of("a\tb\n", "\ncafe", "\u0301 ", *["long "] * 30))


def test_resting_on_a_token_tells_of_it() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.hover(host.view, offset=(1, 0))
        assert str(host.view.tooltip) == "token 1, written by the SLM\nentropy 0.0010\ntop probability 0.83"
        await pilot.hover(host.view, offset=(5, 0))
        assert "written by the LLM" in str(host.view.tooltip)
        assert str(host.view.tooltip).endswith("control passed here: SLM entropy 0.0800")
        host.view.tau = 0.02
        await pilot.hover(host.view, offset=(1, 0))
        await pilot.hover(host.view, offset=(5, 0))
        assert str(host.view.tooltip).endswith("SLM entropy 0.0800, tau 0.02")
        await pilot.hover(host.view, offset=(30, 0))
        assert host.view.tooltip is None

    run(check, [step("one"), step(" two", LLM, 0.5, 0.08)])


def test_the_cursor_marks_a_token_and_brings_it_into_view() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        scroll = host.query_one(VerticalScroll)
        for index in (180, 0, 199, 3):
            before = look(host.view, f"t{index} ")
            host.view.cursor = index
            await pilot.pause()
            assert look(host.view, f"t{index} ").bgcolor != before.bgcolor
            row = next(y for y in range(host.view.size.height) if f"t{index} " in host.view.render_line(y).text)
            on_screen = host.view.region.y + row
            assert scroll.region.y <= on_screen < scroll.region.bottom
        host.view.cursor = None
        await pilot.pause()
        assert look(host.view, "t3 ").bgcolor == look(host.view, "t5 ").bgcolor

    run(check, steps_of(*[f"t{i} " for i in range(200)]), size=(40, 10), above=15)


def test_the_cursor_on_a_token_without_text() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        def marked() -> list[str]:
            line = host.view.render_line(0)
            return [s.text for s in line if s.style is not None and s.style.bold]

        for index, text in ((0, "o"), (1, "one"), (2, " "), (3, "你"), (4, " ")):
            host.view.cursor = index
            await pilot.pause()
            assert marked() == [text], index
        host.view.extend(steps_of("x"))
        await pilot.pause()
        assert marked() == ["x"]
        # It may wait for a token that is still to come.
        host.view.cursor = 6
        await pilot.pause()
        assert marked() == []
        host.view.extend(steps_of(""))
        await pilot.pause()
        assert marked() == [" "]

    run(check, steps_of("", "one", " ", "你", ""))


def test_a_cursor_that_stands_nowhere_is_harmless() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        for index in (5, -1, 0):
            host.view.cursor = index
            await pilot.pause()
        host.view.clear()
        host.view.cursor = 3
        await pilot.pause()
        assert host.view.size.height == 0
        host.view.show(steps_of("new"))
        await pilot.pause()
        assert rows(host.view) == ["new"]
        assert [s.text for s in host.view.steps] == ["new"]

    run(check, steps_of("old"))


def test_tokens_that_end_a_character_begun_before_are_drawn_with_it() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert [s.text for s in host.view.render_line(0) if s.text.strip()] == ["cafe\u0301", "👩\u200d🔬", " \ufffd"]

    run(check, steps_of("cafe", "\u0301", "👩\u200d", "", "🔬", " \ufffd"))


def test_a_line_of_a_hundred_thousand_characters() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        assert host.view.size.height == -(-100_000 // host.view.size.width)
        host.view.extend(steps_of("y" * 100_000))
        await pilot.pause()
        assert host.view.size.height == -(-200_000 // host.view.size.width)
        assert len(host.view.text) == 200_000

    run(check, steps_of("x" * 100_000))


def test_twenty_thousand_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    """One more token draws one more row, however many there are; what it took is printed."""

    async def check(host: Host, pilot: Pilot[None]) -> None:
        view = host.view
        took = 0.0
        for count in range(0, 20_000, 100):
            batch = [step(" word,", LLM if i % 7 == 0 else SLM, i / 100) for i in range(100)]
            started = time.perf_counter()
            for one in batch:
                view.extend([one])
            took += time.perf_counter() - started
            if count % 2000 == 0:
                await pilot.pause()
        host.query_one(VerticalScroll).scroll_end(animate=False)
        await pilot.pause()
        drawn: list[int] = []
        build = view._build_row
        view._build_row = lambda y: (drawn.append(y), build(y))[1]  # type: ignore[func-returns-value, method-assign]
        view.extend([step("!")])
        await pilot.pause()
        view.render_line(view.size.height - 1)
        assert set(drawn) == {view.size.height - 1}
        # What has not changed is not put together again either.
        drawn.clear()
        view.refresh()
        await pilot.pause()
        assert drawn == []
        started = time.perf_counter()
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        resized = time.perf_counter() - started
        assert len(view.steps) == 20_001
        with capsys.disabled():
            print(f"\nextended by 20,000 tokens in {took * 1e3:.0f} ms; resized in {resized * 1e3:.0f} ms")

    run(check, [])


PIECES = st.lists(
    st.sampled_from(["a", "one ", "", "\n", "你好", "\u0301", "👩\u200d", "🔬", "\t", "\x1b", "x" * 9]), max_size=20
)


@given(PIECES, st.integers(1, 12))
def test_every_character_belongs_to_the_token_that_wrote_it(pieces: list[str], width: int) -> None:
    text = TokenText(width)
    for one in steps_of(*pieces):
        text.extend([one])
    whole = "".join(pieces).replace("\x1b", "")
    assert text.text == whole
    drawn = [part for row in range(text.row_count) for part in text.parts(row)]
    assert "".join(part for _, _, part in drawn) == whole
    for token, start, part in drawn:
        begin, end = text.span(token)
        assert whole.startswith(part, start)
        for place in range(start, start + len(part)):
            assert begin <= place < end or joins_previous(whole, place)
        assert text.rows_of((start, start + 1))


@given(PIECES, st.integers(0, 20), st.integers(1, 12))
def test_tokens_may_come_singly_or_at_once(pieces: list[str], cut: int, width: int) -> None:
    at_once, parts = TokenText(width), TokenText(width)
    at_once.extend(steps_of(*pieces))
    parts.extend(steps_of(*pieces[:cut]))
    first = parts.extend(steps_of(*pieces[cut:]))
    assert [list(at_once.parts(y)) for y in range(at_once.row_count)] == [
        list(parts.parts(y)) for y in range(parts.row_count)
    ]
    assert first >= TokenText(width).extend(steps_of(*pieces[:cut])) - 1


def test_colours_are_made_to_stand_out() -> None:
    white, black, orange = Color(255, 255, 255), Color(0, 0, 0), Color.parse("#ffa62b")
    assert contrast(white, black) == pytest.approx(21)
    assert contrast(orange, orange) == 1
    assert contrast(legible(orange, white), white) >= TEXT_CONTRAST
    assert contrast(legible(orange, white, GRAPHICS_CONTRAST), white) >= GRAPHICS_CONTRAST
    assert legible(orange, black) == orange
    assert tinted(white, black, 0) == white
    assert contrast(tinted(white, orange, 0.5), orange) < contrast(white, orange)
    terminal = Color.parse("ansi_green")
    assert legible(terminal, white) == terminal
    assert tinted(terminal, white, 0.5) == terminal
