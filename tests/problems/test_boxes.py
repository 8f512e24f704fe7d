from __future__ import annotations

import pytest

from rstitch_local.problems.boxes import last_boxed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So \\boxed{3} and finally \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{a} is wrong; \\boxed{b", "a"),
        ("\\boxed {7}", "7"),
        ("\\boxed\n{7}", "7"),
        ("\\boxed 7.", "7"),
        ("\\boxed x", "x"),
        ("\\boxed-3", "-3"),
        ("\\boxed{\\boxed{8}}", "8"),
        ("\\boxed{x = \\fbox{8}}", "8"),
        ("\\boxed{\\text{It is } \\boxed{8}}", "8"),
        ("\\boxed{\\boxed{3}, \\boxed{5}}", "3, 5"),
        ("\\boxed{\\boxed{3}} and \\boxed{5}", "3, 5"),
        ("\\boxed{7 \\boxed{}}", "7 \\boxed{}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\text{a } b}", "\\text{a } b"),
        ("\\boxed{\n7\n}", "7"),
        ("{\\boxed{7}}}", "7"),
        ("\\\\boxed{7}", "7"),
        ("\\fbox{9}", "9"),
        ("\\framebox{9}", "9"),
        ("boxed{9}", "9"),
        ("$\\boxed{3}$ and $\\boxed{5}$.", "3, 5"),
        ("$\\boxed{3}$, $\\boxed{5}$, and $\\boxed{7}$", "3, 5, 7"),
        ("\\boxed{3}. We check it, so \\boxed{3}", "3"),
        ("$\\boxed{3}$\n$\\boxed{3}$", "3"),
        ("\\boxed{840}., but let me explain.\n\n**Final Answer**\n\\boxed{840}", "840"),
        ("\\boxed{\\ldots} stands for it", None),
        ("\\boxed{your answer}", None),
        ("\\boxed{}", None),
        ("\\boxed notation", None),
        ("a \\boxed a word", None),
        ("unboxed{7} \\mbox{7}", None),
        ("no box", None),
        ("}}}{{{\\boxed", None),
    ],
)
def test_last_boxed(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


def test_the_search_is_linear_and_not_recursive() -> None:
    # With quadratic time this would exceed the time limit of the test suite.
    assert last_boxed("\\boxed{" * 50_000) is None
    assert last_boxed("\\boxed{" * 50_000 + "1" + "}" * 50_000) == "1"
    assert last_boxed("{" * 100_000 + "\\boxed{1}") == "1"
    assert last_boxed("\\boxed{1}" + "{" * 50_000) == "1"
    assert last_boxed("\\boxed{1} " * 50_000) == "1"
    assert last_boxed("\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}") == "{" * 50_000 + "}" * 50_000
    assert last_boxed("\\boxed" + " " * 100_000) is None
    last_boxed("\\boxed{ " * 100_000 + "}" * 100_000)
