"""However a text is cut into pieces, the blocks after each piece are those of the text so far."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it.token import Token

from rstitch_tui.markdown.growing import GrowingMarkdown, top_level_blocks
from rstitch_tui.markdown.parser import AnswerParser

PIECES = [
    "a", "word ", "**", "*", "_", "`", "```", "```python", "~~~", "\n", "\n\n", "- ", "  - ", "1. ", "2. ", "10) ",
    "+ ", "> ", "# ", "    ", "\t", "---", "| a | b |", "|--|:-:|", "| 1 |", "[x](http://a.b)", "[1]: 42", "1986.", "=",
    "-", "$", "$$", r"\[", r"\]", r"\(", r"\)", r"\begin{aligned}", r"\end{aligned}", r"\boxed{", "}", "x_1^2",
    "\u2028", "中",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@given(texts, st.sets(st.integers(0, 120)))
@example("Two\nlines", {3, 6})
@example("1. a\n\n2. b", {6, 7})
@example("- a\n\n-- x", {5, 6})
@example("| a | b |\n|--|--|\n| 1 | 2 |\n- x", {30, 31, 32})
@settings(max_examples=200, deadline=None)
def test_growing_text_has_the_blocks_of_the_whole_text(text: str, cuts: set[int]) -> None:
    parser = AnswerParser()
    growing = GrowingMarkdown(parser.parse)
    shown: list[str] = []
    for cut in (*sorted(cut for cut in cuts if cut < len(text)), len(text)):
        kept, new = growing.set_text(text[:cut])
        shown[kept:] = [block.signature for block in new]
        assert shown == [block.signature for block in top_level_blocks(parser.parse(text[:cut]))]


@given(st.lists(texts, max_size=6))
@settings(max_examples=50, deadline=None)
def test_any_text_may_follow_another(versions: list[str]) -> None:
    parser = AnswerParser()
    growing = GrowingMarkdown(parser.parse)
    shown: list[str] = []
    for text in versions:
        kept, new = growing.set_text(text)
        shown[kept:] = [block.signature for block in new]
        assert shown == [block.signature for block in top_level_blocks(parser.parse(text))]


def test_only_the_last_blocks_are_parsed_again() -> None:
    parsed: list[str] = []

    def parse(text: str) -> list[Token]:
        parsed.append(text)
        return AnswerParser().parse(text)

    growing = GrowingMarkdown(parse)
    text = "".join(f"Paragraph {number}\nof two lines.\n\n" for number in range(200))
    for end in range(20, len(text), 20):
        kept, new = growing.set_text(text[:end])
        assert kept + len(new) <= text[:end].count("\n\n") + 1
        assert len(new) <= 2
    assert max(map(len, parsed)) < 100
