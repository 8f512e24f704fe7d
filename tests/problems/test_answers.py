from __future__ import annotations

import pytest

from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.problems.answers import last_boxed
from rstitch_local.problems.equivalence import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So \\boxed{3} and finally \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{a} is wrong; \\boxed{b", "a"),
        ("\\boxed {7}", "7"),
        ("\\boxed 7.", "7"),
        ("\\boxed{\\boxed{8}}", "8"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\text{a } b}", "\\text{a } b"),
        ("\\fbox{9}", "9"),
        ("$\\boxed{3}$ and $\\boxed{5}$.", "3, 5"),
        ("$\\boxed{3}$, $\\boxed{5}$, and $\\boxed{7}$", "3, 5, 7"),
        ("\\boxed{3}. We check it, so \\boxed{3}", "3"),
        ("$\\boxed{3}$\n$\\boxed{3}$", "3"),
        ("\\boxed{}", None),
        ("no box", None),
        ("}}}{{{\\boxed", None),
    ],
)
def test_last_boxed(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


def test_strip_thinking() -> None:
    assert strip_thinking("<think>a</think>b</think>c") == "c"
    assert strip_thinking("<think>cut off") == "<think>cut off"
    assert strip_thinking("[THINK]\\boxed{1}[/THINK]4") == "4"
    channels = "<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4"
    assert strip_thinking(channels) == "4"
    assert strip_thinking("<|channel|>final<|message|>4") == "4"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\\boxed{1}</think>It is \\boxed{2}.", "2"),
        ("<think>so \\boxed{1} perhaps", "1"),
        ("We add: 3 + 4 = 7.\n#### 7", "7"),
        ("The answer is 12. Check: 3 * 4 = 12, and 5 is left.\n#### 2,125", "2,125"),
        ("She has 8 apples left.", "8"),
        ("Therefore $x = \\frac{3}{4}$.", "x = \\frac{3}{4}"),
        ("Final answer: **Monday**", "Monday"),
        ("The answer is Monday.", "Monday"),
        ("I do not know", None),
        ("", None),
        ("word\n" * 40_000 + "so 7", "7"),
    ],
)
def test_extract(text: str, answer: str | None) -> None:
    assert extract(text) == answer


def test_matching_braces_takes_linear_time() -> None:
    # With quadratic time this would exceed the time limit of the test suite.
    assert last_boxed("\\boxed{" * 200_000) is None
    assert last_boxed("{" * 400_000 + "\\boxed{1}") == "1"
