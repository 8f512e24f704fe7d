from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rstitch_local.sanitize import safe_text
from rstitch_tui.widgets.wrapping import LINE_ENDS, LONGEST_ROW, Wrapping, continues, drawn

# Narrow and wide letters, marks, joiners, half an emoji, tabs and all kinds of line ends.
LETTERS = "ab-.,   \t\n\u2028é\u0301\u0308你好，。」漢ー한👩👧\u200d\u200c\ufe0f❤#☺\U0001f3fd\U0001f1e9🇪\ufffd"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=80) | st.text(max_size=40).map(safe_text)
WIDTHS = st.integers(1, 24)


def rows_of(text: str, width: int) -> list[str]:
    wrapping = Wrapping(width)
    wrapping.extend(text)
    return wrapping.rows


def shown(row: str) -> str:
    """The row without the white space at its end, and without marks upon that."""
    end = len(row)
    while end and (row[end - 1] in " \t" + LINE_ENDS or (end > 1 and continues(row, end - 1))):
        end -= 1
        if row[end] in " \t" + LINE_ENDS:
            row = row[:end]
    return row


def cells_of(row: str) -> int:
    return cell_len(drawn(shown(row), 0, 10_000))


@given(TEXTS, WIDTHS)
def test_every_character_stands_in_one_row(text: str, width: int) -> None:
    wrapping = Wrapping(width)
    wrapping.extend(text)
    assert "".join(wrapping.rows) == text
    assert all(wrapping.rows)
    assert wrapping.length == len(text)
    for row, start in zip(wrapping.rows, wrapping.starts, strict=True):
        assert text.startswith(row, start)
    assert all(end not in row[:-1] for row in wrapping.rows for end in LINE_ENDS)


@given(TEXTS, WIDTHS)
def test_no_row_is_wider_than_the_width(text: str, width: int) -> None:
    for row in rows_of(text, width):
        one_character = all(continues(row, i) for i in range(1, len(shown(row))))
        assert cells_of(row) <= width or one_character, row


@given(st.lists(TEXTS, max_size=8), WIDTHS)
def test_pieces_give_the_rows_of_the_whole(pieces: list[str], width: int) -> None:
    wrapping = Wrapping(width)
    for piece in pieces:
        before = list(wrapping.rows)
        first = wrapping.extend(piece)
        assert wrapping.rows[:first] == before[:first]
        assert len(before) - 1 <= first <= len(before)
    assert wrapping.rows == rows_of("".join(pieces), width)


@given(TEXTS, WIDTHS, WIDTHS)
def test_another_width_is_as_if_it_had_always_been(text: str, before: int, after: int) -> None:
    wrapping = Wrapping(before)
    wrapping.extend(text)
    assert wrapping.rewrapped(after).rows == rows_of(text, after)


@given(TEXTS, WIDTHS)
def test_what_is_drawn_as_one_stays_together(text: str, width: int) -> None:
    for above, below in zip(rows_of(text, width), rows_of(text, width)[1:], strict=False):
        if above[-1] not in LINE_ENDS and below[0] not in " \t!#-.,ab":
            assert not continues(above[-1] + below[0], 1)


@given(TEXTS, WIDTHS)
def test_a_word_that_fits_a_row_is_not_broken(text: str, width: int) -> None:
    rows = rows_of(text, width)
    for above, below in itertools.pairwise(rows):
        if above[-1] in "ab" and below[0] in "ab" and above.isascii() and below.isascii():
            assert len(above.split()) == 1
            assert len(above) == width


@pytest.mark.parametrize(
    ("text", "width", "rows"),
    [
        ("", 9, []),
        ("one two three", 9, ["one two ", "three"]),
        ("one two  three", 7, ["one two  ", "three"]),
        ("one\ntwo\n", 9, ["one\n", "two\n"]),
        ("\n\n", 9, ["\n", "\n"]),
        ("one        \nx", 5, ["one        \n", "x"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("x abcdefghij", 4, ["x ", "abcd", "efgh", "ij"]),
        ("你好世界", 5, ["你好", "世界"]),
        ("see 你好世界", 9, ["see 你好", "世界"]),
        # A full stop goes with the character before it.
        ("你好世界。", 8, ["你好世", "界。"]),
        ("caf" + "e\u0301" + "s", 4, ["cafe\u0301", "s"]),
        ("abc❤\ufe0f", 4, ["abc", "❤\ufe0f"]),
        # A mark stays on the blank it was put on.
        ("a \u0301bcd", 4, ["a \u0301", "bcd"]),
        ("\tx", 9, ["\tx"]),
        ("abcd\tx", 5, ["abcd\t", "x"]),
    ],
)
def test_rows(text: str, width: int, rows: list[str]) -> None:
    assert rows_of(text, width) == rows


def test_the_row_of_a_character() -> None:
    wrapping = Wrapping(4)
    wrapping.extend("abcdefgh\ni")
    assert [wrapping.row_of(i) for i in range(11)] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert Wrapping(4).row_of(0) == 0


def test_tabs_and_line_ends_are_drawn_as_blanks() -> None:
    assert drawn("a\tb", 0, 20) == "a   b"
    assert drawn("\tb\n", 3, 20) == " b "
    assert drawn("b\n", 19, 20) == "b"
    assert drawn("你\tb", 0, 20) == "你  b"


@pytest.mark.parametrize("letter", ["a", " ", "你", "\u0301", "\u200d", "\ufe0f", "\t", "👩\u200d"])
def test_a_hundred_thousand_characters_without_a_line_end(letter: str) -> None:
    text = "a" + letter * (100_000 // len(letter))
    rows = rows_of(text, 40)
    assert "".join(rows) == text
    assert max(map(len, rows)) <= LONGEST_ROW
    assert max(cells_of(row) for row in rows) <= 40


def test_a_long_answer_costs_no_more_per_token_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """20,000 tokens, each of which touches the last row alone; what it took is printed."""
    wrapping = Wrapping(100)
    tokens = ["the", " cat", " is", " 12", ".", "\n"] * 3334
    started = time.perf_counter()
    firsts = [(wrapping.extend(token), len(wrapping.rows)) for token in tokens]
    took = time.perf_counter() - started
    assert all(rows - first <= 2 for first, rows in firsts)
    with capsys.disabled():
        print(f"\nwrapped {len(tokens)} tokens in {took * 1e3:.0f} ms")
