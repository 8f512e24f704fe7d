"""Formulas as blocks of lines."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from rstitch_tui.mathematics.formula import formula

BLOCKS = r"""
x = \frac{-b \pm \sqrt{b^2-4ac}}{2a}
    −b ± √(b² − 4ac)
x = ────────────────
           2a
%%
\sum_{k=1}^{\infty} \frac{1}{k^2} = \prod_{i=1}^{n} i
 ∞  1     n
 ∑  ── =  ∏  i
k=1 k²   i=1
%%
\left( 3, \frac{\pi}{2} \right)^2
⎛   π⎞²
⎜3, ─⎟
⎝   2⎠
%%
e^{-x^2/2} + x_b^{n/2}
 −x²/2    n/2
e      + x
          b
%%
-\frac{1}{2}x + \boxed{606}
  1     ┌─────┐
− ─ x + │ 606 │
  2     └─────┘
%%
A = \begin{pmatrix}1&2\\3&-4\end{pmatrix}\begin{bmatrix}x\\y\\z\end{bmatrix}
           ⎡x⎤
A = ⎛1  2 ⎞⎢y⎥
    ⎝3  −4⎠⎣z⎦
%%
|x|=\begin{cases}x & \text{if } x\ge0 \\ -x & \text{otherwise}\end{cases}
      ⎧x   if x ≥ 0
|x| = ⎨
      ⎩−x  otherwise
%%
\begin{aligned}x+y &= \frac{1}{2} \\ &= 5 + z \\ z &\le 7\end{aligned}
        1
x + y = ─
        2

      = 5 + z
    z ≤ 7
%%
\left[\begin{array}{cc|c}1&2&3\\4&5&6\end{array}\right]
⎡1  2 │ 3⎤
⎣4  5 │ 6⎦
%%
\begin{array}{c|c}x&y\\\hline 1&2\end{array}
x │ y
─────
1 │ 2
%%
\frac{\frac{a}{b}}{c}
 a
 ─
 b
───
 c
%%
\underbrace{a+b+c}_{n} = \overbrace{xyzw}^{3}
             3
            ╭─┴╮
a + b + c = xyzw
╰───┬───╯
    n
%%
\lim_{x\to 0} \frac{\sin x}{x} = \int_0^{\pi/2} f
    sin x    π/2
lim ───── = ∫₀   f
x→0   x
%%
\sqrt[3]{\frac{a}{b}} \binom{n}{k} \overrightarrow{AB}
 ⎛a⎞⎛n⎞─→
∛⎜─⎟⎜ ⎟AB
 ⎝b⎠⎝k⎠
%%
\left.\frac{dy}{dx}\right|_{x=0} = \left\{\frac{a}{b}\right\}
dy│      ⎧a⎫
──│    = ⎨─⎬
dx│ₓ₌₀   ⎩b⎭
%%
A \xrightarrow{f} B \overset{?}{=} C
   f    ?
A ──→ B = C
%%
\begin{matrix}\text{数学} & 1\\ x & \text{e}\end{matrix}
数学  1
 x    e
"""
"""A source on the first line of each case, and its block."""


@pytest.mark.parametrize("case", BLOCKS.strip("\n").split("\n%%\n"))
def test_block(case: str) -> None:
    source, *block = case.split("\n")
    shown = formula(source)
    assert shown is not None
    assert list(shown.block(80) or ()) == block


def test_a_wide_formula_is_broken_at_relations_and_operators() -> None:
    shown = formula(r"a_1 + a_2 = \frac{b}{2} + c + d + e + f \le g, \quad h = 5")
    assert shown is not None
    assert shown.block(24) == [
        "a₁ + a₂",
        "",
        "       b",
        "     = ─ + c + d + e + f",
        "       2",
        "",
        "     ≤ g,  h = 5",
    ]
    assert shown.block(6) is None
    assert shown.long_lines == ["a₁ + a₂ = b/2 + c + d + e + f ≤ g,  h = 5"]


def test_rows_of_a_wide_table_are_broken_one_by_one() -> None:
    shown = formula(r"\begin{aligned} aaaa + b &= cccccc \\ &= dddddd + eeee\end{aligned}", ".")
    assert shown is not None
    assert shown.block(30) == ["aaaa + b = cccccc", "         = dddddd + eeee."]
    assert shown.block(15) == ["aaaa + b", "     = cccccc", " = dddddd", "     + eeee."]
    assert shown.long_lines == ["aaaa + b = cccccc", "= dddddd + eeee."]


def test_a_matrix_is_not_broken() -> None:
    shown = formula(r"\begin{pmatrix}aaaaa & bbbbb\end{pmatrix}")
    assert shown is not None
    assert shown.block(11) is None
    assert (shown.line, shown.long_lines) == (None, None)


PIECES = [
    "x", "5", "ab", "+", "-", "=", ",", "(", ")", "{", "}", "^", "_", "'", "&", r"\\", r"\frac", r"\sqrt", "[", "]",
    r"\left(", r"\right)", r"\sum", r"\lim", r"\text{a b}", r"\overline", r"\vec", r"\begin{matrix}",
    r"\end{matrix}", r"\begin{cases}", r"\end{cases}", r"\alpha", r"\quad", r"\,", r"\boxed", r"\underbrace",
    r"\overset", " ", "数", "e\u0301", r"\hline", "~", "$",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.integers(20, 140))
@settings(max_examples=20000, deadline=None)
def test_any_source_is_shown_within_the_width_or_not_at_all(source: str, width: int) -> None:
    shown = formula(source)
    if shown is not None:
        block = shown.block(width)
        assert block is None or all(cell_len(line) <= width and "\n" not in line for line in block)
        assert shown.line is None or "\n" not in shown.line


def group(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    argument = inner.map("{{{}}}".format)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, st.sampled_from("+-=,"), inner).map("".join),
        st.tuples(argument, argument).map(lambda parts: "\\frac" + "".join(parts)),
        st.tuples(argument, argument, argument).map(lambda parts: "{}_{}^{}".format(*parts)),
        argument.map("\\sqrt{}".format),
        argument.map("\\left({}\\right)".format),
        argument.map("\\boxed{}".format),
    )


@given(st.recursive(st.sampled_from([*"abcxyz0123456789"]), group, max_leaves=12), st.sampled_from([20, 40, 80]))
@settings(max_examples=200, deadline=None)
def test_every_letter_and_digit_is_shown_in_order(source: str, width: int) -> None:
    shown = formula(source)
    assert shown is not None
    assert shown.line is not None
    expected = re.sub(r"\\[a-z]+", "", source)
    letters = [character for character in expected if character.isalnum()]
    assert [character for character in unicodedata.normalize("NFKD", shown.line) if character.isalnum()] == letters
    block = shown.block(width)
    if block is not None:
        text = unicodedata.normalize("NFKD", "".join(block))
        assert sorted(character for character in text if character.isalnum()) == sorted(letters)
