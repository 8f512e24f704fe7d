"""Formulas in Markdown: as text, as blocks of their own, as their source."""

from __future__ import annotations

import pytest
from markdown_it.token import Token

from rstitch_tui.markdown.formulas import FORMULA_BLOCK, SOURCE
from rstitch_tui.markdown.parser import AnswerParser


def shown(source: str, *, as_source: bool = False) -> list[str]:
    """Return the text of each paragraph, table cell and so on; formulas in brackets: ⟦block⟧, `source`."""
    return [
        _text(token)
        for token in AnswerParser(formulas_as_source=as_source).parse(source)
        if token.content or token.children
    ]


def _text(token: Token) -> str:
    if token.type == FORMULA_BLOCK:
        return f"⟦{token.content}⟧{token.info}{'' if token.meta['body'] is not None else ' as source'}"
    if token.children is None:
        return token.content
    marks = {"hardbreak": "\n", "strong_open": "**", "strong_close": "**", "em_open": "*", "em_close": "*"}
    return "".join(
        f"`{child.content}`" if child.type == "code_inline" else marks.get(child.type, child.content)
        for child in token.children
    )


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        (r"The answer is $\frac{\sqrt{3}}{2}$, so \(x_1^2*y*z\).", ["The answer is √3/2, so x₁² * y * z."]),
        (r"**Answer:** \boxed{606}", ["**Answer:** ▐606▌"]),
        ("Then\n\\[\na\n- b\n= c\n\\]\nso x.", ["Then", "⟦\\[\na\n- b\n= c\n\\]⟧", "so x."]),
        ("Then $$x$$, and", ["Then", "⟦$$x$$⟧,", "and"]),
        ("$$x$$.", ["⟦$$x$$⟧."]),
        (r"A $\begin{pmatrix}1\\2\end{pmatrix}$ b", ["A", r"⟦$\begin{pmatrix}1\\2\end{pmatrix}$⟧", "b"]),
        ("\\begin{gather}\n- x\n+ y\n\\end{gather}\nSo", ["⟦\\begin{gather}\n- x\n+ y\n\\end{gather}⟧", "So"]),
        ("1. So\n   \\[\n   x\n   - 3\n   \\]\n2. b", ["So", "⟦\\[\nx\n- 3\n\\]⟧", "b"]),
        ("- a\n\\[\n- x\n\\]\n- b", ["a", "⟦\\[\n- x\n\\]⟧", "b"]),
        ("> \\[\n> x\n> \\]", ["⟦\\[\nx\n\\]⟧"]),
        ("**$$x_1$$** and *a \\(b\\)*", ["**x₁** and *a b*"]),
        (r"# On $x_1$ and \[y\]", ["On x₁ and y"]),
        ("| $x_1$ |\n|-|\n| $$b$$ |", ["x₁", "b"]),
        (r"$\unknown{x}$ and \[\unknown\]", [r"`$\unknown{x}$` and", r"⟦\[\unknown\]⟧"]),
        ("`$x_1$` and $5 or $10", ["`$x_1$` and $5 or $10"]),
        ("```\n$x_1$ \\[a\\]\n```", ["$x_1$ \\[a\\]\n"]),
        ("    $x_1$", ["$x_1$\n"]),
        (r"\[Note\] \(optional\)", ["[Note] (optional)"]),
        (r"[see $x_1$](http://a.b)", ["see x₁"]),
        (r"$\text{[b]x[/b]}$ [b]y[/b]", ["[b]x[/b] [b]y[/b]"]),
    ],
)  # fmt: skip
def test_formulas_in_markdown(source: str, texts: list[str]) -> None:
    assert shown(source) == texts


def test_formulas_as_source() -> None:
    text = "So $x_1$ and\n\\[ \\frac{1}{2}\n= 3 \\].\nAnd \\boxed{5}"
    assert shown(text, as_source=True) == [
        "So `$x_1$` and", "⟦\\[ \\frac{1}{2}\n= 3 \\]⟧. as source", "And `\\boxed{5}`",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "formula",
    [
        r"\[ a_1 * b *c* [1](2) \\ d \]", r"\( *a* \{b\} _c_ \)", "$$\n- a\n- **b**\n= c\n$$", r"\boxed{*a* _b_}",
        "\\begin{aligned}\n1. a &= b\n> 2\n\\end{aligned}",
    ],
)  # fmt: skip
def test_source_is_shown_until_the_formula_is_closed(formula: str) -> None:
    opening = {"\\[": 2, "\\(": 2, "$$": 2}.get(formula[:2], formula.index("}") + 1 if "\\begin" in formula else 7)
    for end in range(opening, len(formula)):
        (text,) = shown("So " + formula[:end])
        assert " ".join(text.split()) == " ".join(("So " + formula[:end]).split())
    assert shown("So " + formula) != ["So " + formula]


def test_a_formula_that_is_never_closed_ends_with_its_paragraph() -> None:
    assert shown("so \\[ a_1 * b *c*\n- d\n\n**next**") == ["so \\[ a_1 * b *c*\n- d", "**next**"]


def test_sources_are_kept() -> None:
    (token,) = [token for token in AnswerParser().parse(r"a $x_1$ b \(y\)") if token.type == "inline"]
    assert [child.meta.get(SOURCE) for child in token.children or ()] == [None, "$x_1$", None, r"\(y\)"]
