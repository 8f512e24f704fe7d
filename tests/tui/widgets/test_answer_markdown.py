"""At every step of a growing answer the screen shows the text so far, however it is cut and redrawn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.pilot import Pilot
from textual.widgets.markdown import MarkdownBlock

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.answer_markdown import AnswerMarkdown
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
