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
from rstitch_tui.widgets.contrast import GRAPHICS_CONTRAST, TEXT_CONTRAST, contrast_ratio, tinted, with_contrast
from rstitch_tui.widgets.token_text import TokenText
from rstitch_tui.widgets.token_view import TokenView
from rstitch_tui.widgets.wrapping import joins_previous

SLM, LLM = Role.SLM, Role.LLM


def step(
    text: str, role: Role = SLM, entropy: float = 0.001, swap_entropy: float | None = None, position: int = 0
) -> Step:
    return Step(position, role, 7, text, entropy, 0.83, 1, 1.0, swap_entropy)


def steps_of(*texts: str) -> list[Step]:
    return [step(text, position=i) for i, text in enumerate(texts)]


class Host(App[None]):
    """A token view inside a box inside a scrolling column, as in the chat."""

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


def style_of(view: TokenView, text: str) -> Style:
    """Return the style of the first segment with exactly this text."""
    for y in range(view.size.height):
        for segment in view.render_line(y):
            if segment.text == text:
                assert segment.style is not None
                return segment.style
    raise AssertionError(f"{text!r} is not drawn")


def color(rich: RichColor | None) -> Color:
    assert rich is not None
    return Color.from_rich_color(rich)


def test_the_height_is_the_number_of_rows() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        assert rows(host.view) == ["one two three four five six seven", "eight", "", "nine"]
        host.view.extend(steps_of("\nten"))
        await pilot.pause()
        assert rows(host.view)[-2:] == ["nine", "ten"]

    run(check, steps_of("one two three", " four five six", " seven eight\n", "\nnine"))


def test_a_token_in_the_last_row_is_drawn_without_a_layout() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.extend(steps_of(" two"))
        await pilot.pause()
        assert rows(host.view) == ["one two"]
        assert "two" in host.export_screenshot()

    run(check, steps_of("one"))


def test_resizing_wraps_the_text_again() -> None:
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


def test_llm_tokens_are_colored_and_underlined() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        slm, llm = style_of(host.view, "small"), style_of(host.view, " large")
        assert llm.underline
        assert not slm.underline
        assert slm.color != llm.color
        host.view.colored = False
        await pilot.pause()
        plain, other = style_of(host.view, "small"), style_of(host.view, " large")
        assert (plain.color, plain.bgcolor, plain.underline) == (other.color, other.bgcolor, other.underline)

    run(check, [step("small"), step(" large", LLM)])


@pytest.mark.parametrize("role", list(Role))
def test_the_background_is_stronger_the_higher_the_entropy(role: Role) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        background = color(style_of(host.view, "a").bgcolor)
        contrasts = [contrast_ratio(color(style_of(host.view, letter).bgcolor), background) for letter in "abcdef"]
        assert contrasts[:5] == sorted(set(contrasts))
        # From tau on, the strength does not increase.
        assert contrasts[4] == contrasts[5]
        host.view.tau = 0.5
        await pilot.pause()
        assert contrast_ratio(color(style_of(host.view, "e").bgcolor), background) < contrasts[4]

    entropies = zip("abcdef", (0.0, 0.001, 0.004, 0.01, 0.02, 0.9), strict=True)
    run(check, [step(letter, role, entropy) for letter, entropy in entropies])


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "solarized-light", "nord", "dracula"])
def test_every_token_has_enough_contrast(theme: str) -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        await pilot.pause()
        for letter in "abcdef":
            style = style_of(host.view, letter)
            assert contrast_ratio(color(style.color), color(style.bgcolor)) >= TEXT_CONTRAST

    run(
        check,
        [step(x, role, e) for x, role, e in zip("abcdef", [SLM, LLM] * 3, (0, 0, 0.005, 0.005, 1, 1), strict=True)],
    )


def test_colors_follow_the_theme_and_the_background() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        before = style_of(host.view, "a")
        host.theme = "textual-light"
        await pilot.pause()
        after = style_of(host.view, "a")
        assert before.color != after.color
        assert before.bgcolor != after.bgcolor
        host.query_one(Vertical).styles.background = "#400000"
        await pilot.pause()
        assert style_of(host.view, "a").bgcolor != after.bgcolor
        host.theme = "ansi-dark"
        await pilot.pause()
        assert "a" in rows(host.view)

    run(check, steps_of("a"))


def test_text_of_models_is_neither_markup_nor_control_sequences() -> None:
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
        # Breaks between rows are not copied.
        assert host.screen.get_selected_text() == "two " + "x" * 35 + "yy"
        selected = [s.style.bgcolor for s in host.view.render_line(0) if s.style and s.text.strip()]
        assert len(set(selected)) > 1
        # The terminal also reports a click at the end of a drag.
        host.view.post_message(events.Click(host.view, 0, 0, 0, 0, 1, False, False, False, *host.view.region.offset))
        await pilot.pause()
        assert host.picked == []
        host.screen.clear_selection()
        await pilot.pause()
        await pilot.click(host.view, offset=(0, 0))
        assert host.picked == [0]

    run(check, steps_of("one ", "two ", "x" * 35, "yyy", "z"), size=(41, 12))


def test_the_copied_text_has_no_breaks_between_rows() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.text_select_all()
        await pilot.pause()
        assert host.screen.get_selected_text() == "a\tb\n\ncafe\u0301 " + "long " * 30
        await pilot.resize_terminal(20, 20)
        await pilot.pause()
        assert host.screen.get_selected_text() == "a\tb\n\ncafe\u0301 " + "long " * 30

    run(check, steps_of("a\tb\n", "\ncafe", "\u0301 ", *["long "] * 30))


def test_the_tooltip_describes_the_token_under_the_pointer() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await pilot.hover(host.view, offset=(1, 0))
        assert str(host.view.tooltip) == "token 1, generated by the SLM\nentropy 0.0010\ntop probability 0.83"
        await pilot.hover(host.view, offset=(5, 0))
        assert "generated by the LLM" in str(host.view.tooltip)
        assert str(host.view.tooltip).endswith("swap to the LLM: SLM entropy 0.0800")
        host.view.tau = 0.02
        await pilot.hover(host.view, offset=(1, 0))
        await pilot.hover(host.view, offset=(5, 0))
        assert str(host.view.tooltip).endswith("SLM entropy 0.0800, tau 0.02")
        await pilot.hover(host.view, offset=(30, 0))
        assert host.view.tooltip is None

    run(check, [step("one"), step(" two", LLM, 0.5, 0.08)])


def test_the_cursor_highlights_a_token_and_scrolls_it_into_view() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        scroll = host.query_one(VerticalScroll)
        for index in (180, 0, 199, 3):
            before = style_of(host.view, f"t{index} ")
            host.view.cursor = index
            await pilot.pause()
            assert style_of(host.view, f"t{index} ").bgcolor != before.bgcolor
            row = next(y for y in range(host.view.size.height) if f"t{index} " in host.view.render_line(y).text)
            on_screen = host.view.region.y + row
            assert scroll.region.y <= on_screen < scroll.region.bottom
        host.view.cursor = None
        await pilot.pause()
        assert style_of(host.view, "t3 ").bgcolor == style_of(host.view, "t5 ").bgcolor

    run(check, steps_of(*[f"t{i} " for i in range(200)]), size=(40, 10), above=15)


def test_the_cursor_on_a_token_without_text() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        def highlighted() -> list[str]:
            line = host.view.render_line(0)
            return [s.text for s in line if s.style is not None and s.style.bold]

        for index, text in ((0, "o"), (1, "one"), (2, " "), (3, "你"), (4, " ")):
            host.view.cursor = index
            await pilot.pause()
            assert highlighted() == [text], index
        host.view.extend(steps_of("x"))
        await pilot.pause()
        assert highlighted() == ["x"]
        # The cursor may be on a token that has not been generated yet.
        host.view.cursor = 6
        await pilot.pause()
        assert highlighted() == []
        host.view.extend(steps_of(""))
        await pilot.pause()
        assert highlighted() == [" "]

    run(check, steps_of("", "one", " ", "你", ""))


def test_a_cursor_out_of_range_is_ignored() -> None:
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


def test_the_end_of_a_character_is_drawn_with_its_start() -> None:
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
    """A new token draws only the last row. Prints the times."""

    async def check(host: Host, pilot: Pilot[None]) -> None:
        view = host.view
        extend_s = 0.0
        for count in range(0, 20_000, 100):
            batch = [step(" word,", LLM if i % 7 == 0 else SLM, i / 100) for i in range(100)]
            started = time.perf_counter()
            for one in batch:
                view.extend([one])
            extend_s += time.perf_counter() - started
            if count % 2000 == 0:
                await pilot.pause()
        host.query_one(VerticalScroll).scroll_end(animate=False)
        await pilot.pause()
        drawn: list[int] = []
        build = view._rows.build
        view._rows.build = lambda y, look: (drawn.append(y), build(y, look))[1]  # type: ignore[func-returns-value, method-assign]
        view.extend([step("!")])
        await pilot.pause()
        view.render_line(view.size.height - 1)
        assert set(drawn) == {view.size.height - 1}
        # Unchanged rows come from the cache.
        drawn.clear()
        view.refresh()
        await pilot.pause()
        assert drawn == []
        started = time.perf_counter()
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        resize_s = time.perf_counter() - started
        assert len(view.steps) == 20_001
        with capsys.disabled():
            print(f"\nextended by 20,000 tokens in {extend_s * 1e3:.0f} ms; resized in {resize_s * 1e3:.0f} ms")

    run(check, [])


PIECES = st.lists(
    st.sampled_from(["a", "one ", "", "\n", "你好", "\u0301", "👩\u200d", "🔬", "\t", "\x1b", "x" * 9]), max_size=20
)


@given(PIECES, st.integers(1, 12))
def test_every_character_belongs_to_its_token(pieces: list[str], width: int) -> None:
    text = TokenText(width)
    for one in steps_of(*pieces):
        text.extend([one])
    whole = "".join(pieces).replace("\x1b", "")
    assert text.text == whole
    spans = [span for row in range(text.row_count) for span in text.spans(row)]
    assert "".join(span.text for span in spans) == whole
    for span in spans:
        assert whole.startswith(span.text, span.start)
        for index in range(span.start, span.start + len(span.text)):
            assert index in text.characters_of(span.token) or joins_previous(whole, index)
    for row in range(text.row_count):
        assert all(row in text.rows_of(span.token) for span in text.spans(row))


@given(PIECES, st.integers(0, 20), st.integers(1, 12))
def test_appending_in_pieces_gives_the_same_rows(pieces: list[str], cut: int, width: int) -> None:
    whole, two_parts = TokenText(width), TokenText(width)
    whole.extend(steps_of(*pieces))
    two_parts.extend(steps_of(*pieces[:cut]))
    first = two_parts.extend(steps_of(*pieces[cut:]))
    assert [list(whole.spans(row)) for row in range(whole.row_count)] == [
        list(two_parts.spans(row)) for row in range(two_parts.row_count)
    ]
    assert first >= TokenText(width).extend(steps_of(*pieces[:cut])) - 1


def test_contrast() -> None:
    white, black, orange = Color(255, 255, 255), Color(0, 0, 0), Color.parse("#ffa62b")
    assert contrast_ratio(white, black) == pytest.approx(21)
    assert contrast_ratio(orange, orange) == 1
    assert contrast_ratio(with_contrast(orange, white), white) >= TEXT_CONTRAST
    assert contrast_ratio(with_contrast(orange, white, GRAPHICS_CONTRAST), white) >= GRAPHICS_CONTRAST
    assert with_contrast(orange, black) == orange
    assert tinted(white, black, 0) == white
    assert contrast_ratio(tinted(white, orange, 0.5), orange) < contrast_ratio(white, orange)
    ansi_green = Color.parse("ansi_green")
    assert with_contrast(ansi_green, white) == ansi_green
    assert tinted(ansi_green, white, 0.5) == ansi_green
