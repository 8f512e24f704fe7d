from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from rstitch_local.sanitize import safe_text
from rstitch_tui.widgets.wrapping import (
    LINE_ENDS,
    MAX_ROW_CHARACTERS,
    WrappedText,
    expand_whitespace,
    joins_previous,
)

# Narrow and wide letters, combining marks, joiners, halves of emoji, tabs and all kinds of line ends.
LETTERS = "ab-.,   \t\n\u2028é\u0301\u0308你好，。」漢ー한👩👧\u200d\u200c\ufe0f❤#☺\U0001f3fd\U0001f1e9🇪\ufffd"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=80) | st.text(max_size=40).map(safe_text)
# Letters whose width depends on the ones before them.
JOINED_TEXTS = st.text(st.sampled_from("a \u200d\ufe0f\u0301❤#☺👩。"), max_size=12)
WIDTHS = st.integers(1, 24)


def wrap(text: str, width: int) -> list[str]:
    wrapped = WrappedText(width)
    wrapped.extend(text)
    return wrapped.rows


def without_trailing_space(row: str) -> str:
    """The row without white space at its end, nor combining marks on that white space."""
    end = len(row)
    while end and (row[end - 1] in " \t" + LINE_ENDS or (end > 1 and joins_previous(row, end - 1))):
        end -= 1
        if row[end] in " \t" + LINE_ENDS:
            row = row[:end]
    return row


def width_of(row: str) -> int:
    return cell_len(expand_whitespace(without_trailing_space(row), 0, 10_000))


@given(TEXTS, WIDTHS)
def test_every_character_is_in_exactly_one_row(text: str, width: int) -> None:
    wrapped = WrappedText(width)
    wrapped.extend(text)
    assert "".join(wrapped.rows) == text
    assert all(wrapped.rows)
    assert wrapped.length == len(text)
    for row, start in zip(wrapped.rows, wrapped.starts, strict=True):
        assert text.startswith(row, start)
    assert all(end not in row[:-1] for row in wrapped.rows for end in LINE_ENDS)


@given(TEXTS | JOINED_TEXTS, WIDTHS)
# Two joiners: the second is joined to the first and joins nothing, so the smiley takes a cell of its own.
@example("a\u200d\u200d☺。", 3)
@example("a\u200d\u200d\u200d☺。", 3)
def test_no_row_is_wider_than_the_width(text: str, width: int) -> None:
    for row in wrap(text, width):
        one_character = all(joins_previous(row, i) for i in range(1, len(without_trailing_space(row))))
        assert width_of(row) <= width or one_character, row


@given(st.lists(TEXTS, max_size=8), WIDTHS)
def test_appending_in_pieces_gives_the_same_rows(pieces: list[str], width: int) -> None:
    wrapped = WrappedText(width)
    for piece in pieces:
        before = list(wrapped.rows)
        first = wrapped.extend(piece)
        assert wrapped.rows[:first] == before[:first]
        assert len(before) - 1 <= first <= len(before)
    assert wrapped.rows == wrap("".join(pieces), width)


@given(TEXTS, WIDTHS, WIDTHS)
def test_rewrapping_gives_the_rows_of_the_new_width(text: str, before: int, after: int) -> None:
    wrapped = WrappedText(before)
    wrapped.extend(text)
    assert wrapped.rewrapped(after).rows == wrap(text, after)


@given(TEXTS | JOINED_TEXTS, WIDTHS)
def test_joined_characters_are_not_split(text: str, width: int) -> None:
    for above, below in itertools.pairwise(wrap(text, width)):
        if above[-1] not in LINE_ENDS and below[0] not in " \t!#-.,ab":
            assert not joins_previous(above + below, len(above))


@given(TEXTS, WIDTHS)
def test_a_word_that_fits_in_a_row_is_not_split(text: str, width: int) -> None:
    for above, below in itertools.pairwise(wrap(text, width)):
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
        # A row does not begin with a full stop.
        ("你好世界。", 8, ["你好世", "界。"]),
        ("caf" + "e\u0301" + "s", 4, ["cafe\u0301", "s"]),
        ("abc❤\ufe0f", 4, ["abc", "❤\ufe0f"]),
        # A combining mark stays with its space.
        ("a \u0301bcd", 4, ["a \u0301", "bcd"]),
        ("a\u200d\u200d☺。", 3, ["a\u200d\u200d☺", "。"]),
        ("\tx", 9, ["\tx"]),
        ("abcd\tx", 5, ["abcd\t", "x"]),
    ],
)
def test_rows(text: str, width: int, rows: list[str]) -> None:
    assert wrap(text, width) == rows


def test_row_of_a_character() -> None:
    wrapped = WrappedText(4)
    wrapped.extend("abcdefgh\ni")
    assert [wrapped.row_of(i) for i in range(11)] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert WrappedText(4).row_of(0) == 0


@pytest.mark.parametrize(
    ("row", "joined"),
    [
        ("ab", [False]),
        ("a\u0301", [True]),
        ("👩\u200d🔬", [True, True]),
        ("👩\u200d\u200d🔬", [True, True, False]),
        ("👩\u200d\u200d\u200d🔬", [True, True, True, True]),
    ],
)
def test_joins_previous(row: str, joined: list[bool]) -> None:
    assert [joins_previous(row, index) for index in range(1, len(row))] == joined


def test_tabs_and_line_ends_become_spaces() -> None:
    assert expand_whitespace("a\tb", 0, 20) == "a   b"
    assert expand_whitespace("\tb\n", 3, 20) == " b "
    assert expand_whitespace("b\n", 19, 20) == "b"
    assert expand_whitespace("你\tb", 0, 20) == "你  b"


@pytest.mark.parametrize("letter", ["a", " ", "你", "\u0301", "\u200d", "\ufe0f", "\t", "👩\u200d"])
def test_a_hundred_thousand_characters_without_a_line_end(letter: str) -> None:
    text = "a" + letter * (100_000 // len(letter))
    rows = wrap(text, 40)
    assert "".join(rows) == text
    assert max(map(len, rows)) <= MAX_ROW_CHARACTERS
    assert max(width_of(row) for row in rows) <= 40


def test_appending_a_token_changes_only_the_last_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the time for 20,000 tokens."""
    wrapped = WrappedText(100)
    tokens = ["the", " cat", " is", " 12", ".", "\n"] * 3334
    started = time.perf_counter()
    changes = [(wrapped.extend(token), len(wrapped.rows)) for token in tokens]
    elapsed = time.perf_counter() - started
    assert all(rows - first <= 2 for first, rows in changes)
    with capsys.disabled():
        print(f"\nwrapped {len(tokens)} tokens in {elapsed * 1e3:.0f} ms")
