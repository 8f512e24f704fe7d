from __future__ import annotations

import pytest

from rstitch_local.problems.escapes import lost_backslash

# Each is what Python and JSON make of the command written with one backslash.
LOST = [
    ("\frac{84}{2}", "a form feed", "\\frac"),
    ("\forall x", "a form feed", "\\forall"),
    ("\beta", "a backspace", "\\beta"),
    ("\boxed{5}", "a backspace", "\\boxed"),
    ("\begin{align}", "a backspace", "\\begin"),
    ("\alpha", "a BEL", "\\alpha"),
    ("\varphi", "a vertical tab", "\\varphi"),
    ("a\theta", "a tab", "\\theta"),
    ("2\times 3", "a tab", "\\times"),
    ("\tfrac12", "a tab", "\\tfrac"),
    ("\triangle ABC", "a tab", "\\triangle"),
    ("5\text{ cm}", "a tab", "\\text"),
    ("\textbf{x}", "a tab", "\\textbf"),
    ("$\tan x$", "a tab", "\\tan"),
    ("$x \to 0$", "a tab", "\\to"),
    ("\\(\tau\\)", "a tab", "\\tau"),
    ("\right)", "a line end", "\\right"),
    ("\rho_1", "a line end", "\\rho"),
    ("\rangle", "a line end", "\\rangle"),
    ("\nabla f", "a line end", "\\nabla"),
    ("x \neq 0", "a line end", "\\neq"),
    ("x \notin A", "a line end", "\\notin"),
    ("$x \ne 0$", "a line end", "\\ne"),
    ("$\nu$", "a line end", "\\nu"),
    ("$E = h\nu$", "a line end", "\\nu"),
    ("$a\not\\in B$", "a line end", "\\not"),
]
MEANT = [
    "What is $\\frac{84}{2}$?",
    "Question:\nu is 5",
    "first\n\nexists b",
    "either\nor, the\nmid of it, \n- not",
    "line\r\nright",
    "old\rline end",
    "name\tan x\n1\t2",
    "a\ttext",
    "a\tto b",
    "\fChapter 2",
    "see eq. 2,\neq. 3",
    "$a +\nb$ and $x +\nu$",
    "$$\nu = 3\n$$",
    "he has $5\nu owe $6",
]


@pytest.mark.parametrize(("text", "control", "command"), LOST)
def test_a_lost_backslash_is_found(text: str, control: str, command: str) -> None:
    assert lost_backslash(f"Compute it: {text}.") == (control, command)


@pytest.mark.parametrize("text", MEANT)
def test_tabs_and_line_ends_that_are_meant_are_not(text: str) -> None:
    assert lost_backslash(text) is None


def test_long_texts_take_linear_time() -> None:
    # With quadratic time this would exceed the time limit of the test suite.
    for text in ("\n" * 300_000, "$\n" * 100_000, "\\(\n" * 100_000, "\text" * 50_000):
        lost_backslash(text)
