"""Which parts of a text are formulas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_tui.mathematics.scan import Scanner, Span


def spans_of(text: str) -> list[Span]:
    scanner = Scanner()
    scanner.feed(text)
    return scanner.all_spans()


def sources(text: str) -> list[str]:
    return [text[span.start : span.end] for span in spans_of(text)]


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"a $x_1$ b \(y\) c", ["$x_1$", r"\(y\)"]),
        (r"\[ x \] and $$y$$", [r"\[ x \]", "$$y$$"]),
        ("$$\nx\n$$", ["$$\nx\n$$"]),
        (r"\begin{pmatrix}1\\2\end{pmatrix}.", [r"\begin{pmatrix}1\\2\end{pmatrix}"]),
        (r"\begin{align*}\begin{cases}{a}\text{if }\end{cases}\end{align*}", None),
        (r"\begin{a}\begin{a}\end{a}\end{a}", None),
        (r"\[ \begin{bmatrix}1\\\end{bmatrix}\]", None),
        (r"so \boxed{\frac{1}{2}}, \sqrt[3]{x}", [r"\boxed{\frac{1}{2}}", r"\sqrt[3]{x}"]),
        (r"\frac{a}{b} c", [r"\frac{a}{b}"]),
        ("the $n$th, $n$-th and $k$'s", ["$n$", "$n$", "$k$"]),
        ("$5$ or $6$.", ["$5$", "$6$"]),
        ("$2ab$ $3x + 2y$", ["$2ab$", "$3x + 2y$"]),
        (r"$5 \text{ apples}$", None),
        ("$\\mathbb{R}$.", ["$\\mathbb{R}$"]),
        ("$ABC$ and $AB + CD$", ["$ABC$", "$AB + CD$"]),
        ("$x$, $y$", ["$x$", "$y$"]),
    ],
)  # fmt: skip
def test_formulas_are_found(text: str, formulas: list[str] | None) -> None:
    assert sources(text) == (formulas if formulas is not None else [text.removesuffix(".")])
    assert all(span.closed for span in spans_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "costs $5 and $10.", "$5-$10", "$5/$6", "US$5 and CA$", "$5 per kg, or 3$", "$100 million$", "$1,000",
        "$5k to $6k", "$5 (or $6)", r"\$5 and \$6", "$", "a $ b $ c", "$ x $", "$x for the price of y$",
        "echo $HOME/bin:$PATH", "$A:$B", "${HOME}/x:${PATH}", "$PATH is not $HOME",
        "`$x$` and ``\\(x\\)``", "`a $x` b $y`", r"a\\(b\\)", r"\\[x\\]",
        r"\[Note\] and \(optional\)", r"\frac12 or \boxed 5", "", "\\", "$$ $$",
    ],
)  # fmt: skip
def test_other_text_has_no_formula(text: str) -> None:
    assert sources(text) == []


@pytest.mark.parametrize("text", [r"\( x", r"\[ a_1", "$$ x", r"\begin{aligned} x \\ y \end{alig", r"\boxed{606", "$$"])
def test_open_formulas_last_until_the_end(text: str) -> None:
    (span,) = spans_of("So: " + text)
    assert (span.start, span.end, span.closed) == (4, 4 + len(text), False)


def test_display() -> None:
    text = r"$a$ \(b\) \boxed{c} \[d\] $$e$$ \begin{aligned}f\end{aligned}"
    assert [span.display for span in spans_of(text)] == [False, False, False, True, True, True]


PIECES = [
    "$", "$$", r"\(", r"\)", r"\[", r"\]", r"\begin{a}", r"\end{a}", r"\boxed{", r"\frac{", "{", "}", "`", "``", "\\",
    "\n", "x", " ", "5", "word ", "_1",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@settings(max_examples=200, deadline=None)
def test_spans_are_ordered_parts_of_the_text(text: str) -> None:
    end = 0
    for span in spans_of(text):
        assert end <= span.start < span.end <= len(text)
        assert span.body in text[span.start : span.end]
        end = span.end


@given(st.lists(st.sampled_from([*PIECES, "\n"]), max_size=30).map("".join))
@settings(max_examples=100, deadline=None)
def test_lines_can_be_fed_one_by_one(text: str) -> None:
    text = text.replace("$", "").replace("`", "")
    scanner = Scanner()
    for line in text.splitlines(keepends=True):
        scanner.feed(line)
    assert scanner.all_spans() == spans_of(text)


@pytest.mark.parametrize(
    "piece", [r"\(", "$x ", "$x$ ", r"\frac{", "``` `` ` ", "$", r"\begin{a}", "{", r"\boxed{x} ", "\\"]
)
def test_a_long_text_is_scanned_in_linear_time(piece: str) -> None:
    # A quadratic scan would take minutes.
    spans_of(piece * (300_000 // len(piece)))
