"""At every step of a growing answer the screen shows the text so far, however it is cut and redrawn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection
from textual.widgets.markdown import MarkdownBlock

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.answer_markdown import AnswerMarkdown
from rstitch_tui.widgets.formula_block import AnswerParagraph, FormulaBlock, FormulaLines
from rstitch_tui.widgets.message_view import MessageView

COLUMNS, ROWS = 40, 60


class TwoColumns(App[None]):
    """A growing message on the left; on the right a message that is given the same text at once."""

    AUTO_FOCUS = None
    CSS = "VerticalScroll { width: 1fr; scrollbar-size-vertical: 0; }"

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.view = MessageView(1, "assistant", text=text, finished=False)

    def compose(self) -> ComposeResult:
        with Horizontal():
            with VerticalScroll(can_focus=False):
                yield self.view
            yield VerticalScroll(id="whole", can_focus=False)

    async def show_whole(self, text: str) -> None:
        whole = self.query_one("#whole")
        await whole.remove_children()
        await whole.mount(MessageView(2, "assistant", text=text, finished=False))

    def columns(self) -> tuple[list[str], list[str]]:
        rows = [strip.crop(0, 2 * COLUMNS) for strip in self.screen._compositor.render_strips(self.screen.size)]
        left, right = ([row.crop(start, start + COLUMNS).text for row in rows] for start in (0, COLUMNS))
        return left, right


def run(check: Callable[[TwoColumns, Pilot[None]], Awaitable[None]], text: str = "") -> None:
    async def main() -> None:
        app = TwoColumns(text)
        async with app.run_test(size=(2 * COLUMNS, ROWS)) as pilot:
            await pilot.pause()
            await check(app, pilot)

    asyncio.run(main())


def step(text: str) -> list[Step]:
    return [Step(0, Role.SLM, 7, text, 0.01, 0.9, 1, 100.0)]


async def require_text_so_far(app: TwoColumns, pilot: Pilot[None], text: str) -> None:
    await app.show_whole(text)
    await pilot.pause()
    left, right = app.columns()
    assert left == right
    shown = "".join("".join(left).split())
    letters = [character for character in text if character.isalpha()]
    assert [character for character in shown if character.isalpha()] == letters


PIECES = [
    "One",
    "two\n",
    "three ",
    "**four",
    "**",
    "\n\n",
    "- five\n",
    "1. six",
    "\n2. ",
    "`x",
    "`",
    "a*b",
    "| y |\n",
    "|-|\n",
    "# ",
]
TOGGLE_TWICE = "toggle twice"
actions = st.lists(st.one_of(st.sampled_from(PIECES), st.just(TOGGLE_TWICE)), min_size=2, max_size=5)


@given(st.lists(st.sampled_from(PIECES), max_size=4).map("".join), actions)
@example("First\nsecond\nthird", [" and", "\nfourth"])
@example("", ["One\n", "two", TOGGLE_TWICE, "\nthree"])
@example("| a | b |\n|---|---|\n| c | d |\n", ["-", " item"])
@settings(max_examples=4, deadline=None)
def test_the_screen_shows_the_text_so_far(start: str, actions: Sequence[str]) -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        text = start
        for action in actions:
            if action == TOGGLE_TWICE:
                await pilot.pause()
                for on in (True, False):
                    app.view.as_tokens = on
            else:
                text += action
                await app.view.extend(step(action))
            await pilot.pause()
            await require_text_so_far(app, pilot, text)

    run(check, start)


def test_tokens_that_arrive_during_a_toggle_are_drawn_once() -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        text = "One\ntwo"
        for number in range(4):
            app.view.as_tokens = number % 2 == 0
            # Not awaited: the new drawing begins while the toggle is still being drawn.
            await asyncio.gather(*(app.view.extend(step(f" x{number}")) for _ in range(3)))
            text += f" x{number}" * 3
        await pilot.pause()
        await require_text_so_far(app, pilot, text)

    run(check, "One\ntwo")


def test_only_changed_blocks_are_drawn_again() -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        await app.view.extend(step("One.\n\n1. a\n2. b\n3. c"))
        markdown = app.query_one(AnswerMarkdown)
        before = list(markdown.query(MarkdownBlock))
        await app.view.extend(step("d\n4. e\n"))
        await pilot.pause()
        after = list(markdown.query(MarkdownBlock))
        # The first paragraph, the list and the paragraphs of its first two items.
        assert [block for block in before if block in after] == before[:4]
        await app.view.extend(step("\nTwo"))
        await app.view.extend(step(" words."))
        assert after == list(markdown.query(MarkdownBlock))[: len(after)]

    run(check)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("3. c\n3) d", [" 3. c", "", " 3) d"]),
        ("7. e\n9. f", [" 7. e", " 9. f"]),
        ("1. a\n1. b\n1. c", [" 1. a", " 2. b", " 3. c"]),
        ("007. James", [" 007. James"]),
        ("9. a\n10. b", ["  9. a", " 10. b"]),
    ],
)
def test_list_numbers_are_those_of_the_model(text: str, lines: Sequence[str]) -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:  # noqa: ARG001
        left, _ = app.columns()
        assert [line[2:].rstrip() for line in left[1 : 1 + len(lines)]] == lines

    run(check, text)


def test_columns_of_tables_are_aligned_while_rows_arrive() -> None:
    def cells(app: TwoColumns) -> list[str]:
        return [line[3 : COLUMNS - 3] for line in app.columns()[0] if "│" in line]

    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        for piece in ("| left | mid | right |\n|:--|:-:|--:|\n", "| a | b | c |", "\n| d", " | e | f |\n"):
            await app.view.extend(step(piece))
            await pilot.pause()
        header, first, second = cells(app)
        for row, words in ((first, "abc"), (second, "def")):
            assert row.index(words[0]) == header.index("left")
            assert row.index(words[1]) == header.index("mid") + 1
            assert row.index(words[2]) == header.index("right") + 4

    run(check)


def lines_of(app: TwoColumns) -> list[str]:
    return [line.strip() for line in app.columns()[0] if line.strip() and "…" not in line]


def test_a_formula_is_shown_as_its_source_until_it_is_closed() -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        text = ""
        for piece, lines in (
            ("So\n\\[", ["So", "\\["]),
            (" x_1\n- \\frac{a}", ["So", "\\[ x_1", "- \\frac{a}"]),
            ("{b} \\", ["So", "\\[ x_1", "- \\frac{a}{b} \\"]),
            ("]", ["So", "a", "x₁ − ─", "b"]),
            (".", ["So", "a", "x₁ − ─.", "b"]),
            (" And", ["So", "a", "x₁ − ─.", "b", "And"]),
        ):
            text += piece
            await app.view.extend(step(piece))
            await pilot.pause()
            assert lines_of(app) == lines
            await app.show_whole(text)
            await pilot.pause()
            left, right = app.columns()
            assert left == right

    run(check)


def test_formulas_can_be_shown_as_source() -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:
        assert lines_of(app) == ["So x₁ and", "1", "─", "2"]
        app.view.formulas_as_source = True
        await pilot.pause()
        assert lines_of(app) == ["So $x_1$ and", r"\[\frac12\]"]
        await app.view.extend(step(" $y^2$"))
        await pilot.pause()
        assert lines_of(app) == ["So $x_1$ and", r"\[\frac12\]", "$y^2$"]
        app.view.formulas_as_source = False
        await pilot.pause()
        assert lines_of(app) == ["So x₁ and", "1", "─", "2", "y²"]

    run(check, r"So $x_1$ and \[\frac12\]")


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ((0, 0), (2, 0), "So"),
        ((3, 0), (4, 0), "$x_1$"),
        ((1, 0), (8, 0), "o $x_1$ an"),
        ((6, 0), (1, 1), "and\n\\(y^2\\)"),
        (None, None, "So $x_1$ and\n\\(y^2\\) z."),
    ],
)
def test_selected_formulas_are_copied_as_their_source(
    start: tuple[int, int] | None, end: tuple[int, int] | None, text: str
) -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:  # noqa: ARG001
        selection = Selection(start and Offset(*start), end and Offset(*end))
        app.screen.selections = {app.view.query_one(AnswerParagraph): selection}
        assert app.screen.get_selected_text() == text

    run(check, "So $x_1$ and\n\\(y^2\\) `z`.")


def test_a_selected_block_is_copied_as_its_source() -> None:
    async def check(app: TwoColumns, pilot: Pilot[None]) -> None:  # noqa: ARG001
        app.screen.selections = {app.view.query_one(FormulaBlock): Selection(Offset(1, 0), Offset(2, 1))}
        assert app.screen.get_selected_text() == r"\[\frac12\]."

    run(check, r"\[\frac12\].")


@pytest.mark.parametrize("width", [20, 40, 140])
def test_formulas_fit_the_width(width: int) -> None:
    lines = FormulaLines(SOURCE, SOURCE.strip("$"), ".")
    for row in lines.content(width).plain.split("\n"):
        assert cell_len(row) <= width
    as_source = FormulaLines(SOURCE, None, ".").content(width)
    assert as_source.plain.replace("\n", "") == SOURCE + "."


SOURCE = (
    r"$$\sum_{k=1}^{n} \frac{数学 + a_1 + a_2 + a_3}{2} = \overline{AB} + \text{eine Zahl} = \sqrt{x + y + z + w}$$"
)
