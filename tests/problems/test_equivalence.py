"""Gold answers in the notations of published problem sets, and the spellings that models use."""

from __future__ import annotations

import pytest

from rstitch_local.problems.equivalence import LONGEST_ANSWER, equivalent
from rstitch_local.problems.notation import normal_form

CORRECT = {
    "18": [
        "18",
        "$18$",
        "\\$18",
        "$18",
        "18.",
        "18.00",
        "+18",
        "18 dollars",
        "18\\text{ dollars}",
        "\\text{18}",
    ],
    "2,125": ["2125", "2,125", "\\$2,125", "2,\\!125", "2125.0"],
    "70000": ["70,000", "7 \\times 10^4"],
    "10,\\!080": ["10080", "10,080"],
    "27": ["27.0", "x=27", "x = 27"],
    "025": ["25"],
    "-10": ["−10", "-10.0"],
    "\\text{Ada}": ["Ada", "\\textbf{ada}", "\\mathrm{Ada}", "\\text{Ada }"],
    "\\text{(C)}": ["C", "(C)", "\\textbf{(C)}"],
    "\\dfrac{17}{50}": ["\\frac{17}{50}", "17/50", "0.34"],
    "\\frac43": ["\\frac{4}{3}", "\\tfrac43", "4/3", "1.3333333"],
    "90^\\circ": ["90", "90^{\\circ}", "90°", "90 \\text{ degrees}"],
    "\\frac{270}7\\text{ degrees}": ["\\frac{270}{7}", "\\frac{270}{7}^\\circ"],
    "4.5e33": ["4.5 \\times 10^{33}", "4.5e33", "4.5\\cdot10^{33} \\text{ erg/s}"],
    "1e-5": ["10^{-5}", "0.00001", "1 \\times 10^{-5}"],
    "-3./2": ["-1.5", "-\\frac{3}{2}"],
    "np.arcsin(10/13)": ["\\arcsin(10/13)", "\\arcsin\\left(\\frac{10}{13}\\right)"],
    "62.5%": ["62.5", "62.5\\%", "0.625"],
    "50": ["50%", "50\\%"],
    "0.15": ["15\\%", "\\frac{3}{20}"],
    "$69$,$84$": ["84, 69", "\\{69, 84\\}", "69 \\text{ and } 84", "69 and 84"],
    "1,3,5": ["1, 3, 5", "5, 3, 1", "1, 3, \\text{ and } 5"],
    "100, 200": ["100,200", "200 and 100"],
    "$(3,2),(-3,2)$": ["(-3,2),(3,2)", "(3, 2), (-3, 2)"],
    "1 \\pm \\sqrt{19}": ["1+\\sqrt{19}, 1-\\sqrt{19}", "1\\pm\\sqrt{19}"],
    "$k=1$": ["1", "k = 1"],
    "5": ["x=5", "5 apples"],
    "(3,4]": ["(3, 4]", "x \\in (3,4]"],
    "(2,\\infty)": ["(2, ∞)", "(2,+\\infty)"],
    "$f(x)=2 x$": ["2x", "f(x) = 2x", "f(x)=x+x"],
    "p - q": ["-q+p", "p-q"],
    "3\\sqrt{13}": ["3√13", "\\sqrt{117}"],
    "\\frac{\\sqrt{3}}{3}": ["\\frac{1}{\\sqrt{3}}"],
    "52_8": ["52_{8}"],
    "6 - 5i": ["-5i+6"],
    "288 \\pi": ["288π", "288\\cdot\\pi"],
    "$k \\geqslant 2$": ["k \\ge 2", "k≥2"],
    "$6m$": ["6m", "6 m"],
    "$2n$": ["n \\cdot 2", "2 n"],
    "$\\binom{2n}{n}$": ["\\frac{(2n)!}{(n!)^2}"],
    "\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}": [
        "\\begin{pmatrix} -\\frac{1}{3} \\\\ \\frac{2}{3} \\end{pmatrix}"
    ],
    "\\left( 3, \\frac{\\pi}{2} \\right)": ["(3, \\pi/2)"],
    "$166$": ["166 \\mathrm{~cm}^{2}", "166\\,\\text{cm}^2"],
    "5x - 7y + 4 = 0": ["5x-7y+4=0"],
    "$f(x)=a x+b$, where $b$ is whole": ["f(x)=ax+b, where b is whole"],
}
WRONG = {
    "18": ["19", "1.8", "18.5", "", "eighteen", "18, 19"],
    "2,125": ["2", "125", "2.125"],
    "\\text{Ada}": ["Ad", "Eve"],
    "\\text{(C)}": ["D", "(B)"],
    "4.5e33": ["4.5", "4.5e32", "4.5 \\times 10^{32}"],
    "1e-8": ["2e-8", "0"],
    "2.7778e-6": ["3e-6"],
    "$2n$": ["2", "n"],
    "2": ["$2n$", "2x"],
    "$6m$": ["6", "7m"],
    "12": ["12xy"],
    "$69$,$84$": ["69", "69, 69", "69, 85", "69, 84, 85"],
    "1,-2": ["1,2"],
    "69": ["69, 84"],
    "(3,2)": ["(2,3)", "(3,2,1)"],
    "(3,4]": ["(3,4)", "[3,4]", "(3,5]"],
    "(2,\\infty)": ["(-\\infty,2)"],
    "0.5": ["0.5%"],
    "62.5%": ["6.25", "0.00625"],
    "3986729": ["3986729.4", "3986730"],
    "\\frac{1}{3}": ["0.33"],
    "p - q": ["q-p"],
    "$f(x)=2 x$": ["3x", "f(x)=3x"],
    "x=5": ["6", "x=6"],
    "1 \\pm \\sqrt{19}": ["1+\\sqrt{19}"],
    "$(3,2),(-3,2)$": ["(3,2),(3,2)"],
}


@pytest.mark.parametrize(
    ("gold", "answer"), [(gold, answer) for gold, answers in CORRECT.items() for answer in answers]
)
def test_correct(gold: str, answer: str) -> None:
    assert equivalent(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), [(gold, answer) for gold, answers in WRONG.items() for answer in answers])
def test_wrong(gold: str, answer: str) -> None:
    assert not equivalent(gold, answer)


@pytest.mark.parametrize("gold", [*CORRECT, *WRONG])
def test_every_gold_answer_equals_itself(gold: str) -> None:
    assert equivalent(gold, gold)


def test_long_answers_are_compared_by_spelling_only() -> None:
    terms = "+".join(["1"] * LONGEST_ANSWER)
    assert not equivalent(str(LONGEST_ANSWER), terms)
    assert equivalent(terms, f" {terms} ")


def test_normal_form_is_equal_for_different_spellings() -> None:
    assert len({normal_form(text) for text in ("0.5", "\\frac12", "1/2", "$\\dfrac{1}{2}$", ".50")}) == 1
    assert normal_form("2x") != normal_form("2y")
