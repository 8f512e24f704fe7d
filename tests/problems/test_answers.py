"""Extraction of final answers: the notations of models, and what public graders got wrong.

Many of the cases are from issues of Math-Verify, lm-evaluation-harness, lighteval, inspect_ai, opencompass, helm and
others.
"""

from __future__ import annotations

import pytest

from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.problems.answers import final_answer


def test_strip_thinking() -> None:
    assert strip_thinking("<think>a</think>b</think>c") == "c"
    assert strip_thinking("<think>cut off") == "<think>cut off"
    assert strip_thinking("[THINK]\\boxed{1}[/THINK]4") == "4"
    channels = "<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4"
    assert strip_thinking(channels) == "4"
    assert strip_thinking("<|channel|>final<|message|>4") == "4"


LONG = "We add them one by one and then look at the sum. " * 20

BOXED = [
    ("I will mark it with \\boxed notation. The answer is 7.", "7"),
    ("I put the answer in \\boxed{}. The answer is 7.", "7"),
    ("As \\boxed{...} is asked for: the answer is 7.", "7"),
    ("It ends with \\boxed{\\text{answer}}, so \\boxed{7}.", "7"),
    ("The answer is therefore $\\boxed{7}$.", "7"),
    ("The final answer is: $\\boxed{7}$", "7"),
    ("The answer is 3. No: \\boxed{7}", "7"),
    ("\\boxed{3}. That was wrong. **Final Answer**\n\\boxed{4}", "4"),
    ("\\boxed{004}. The sum is 2,552,004, so \\boxed{004} it is.\n\n**Final Answer**\n\\boxed{004}", "004"),
    ("\\boxed{\\text{The answer is } 7}", "7"),
    ("\\boxed{\\text{Answer: }7}", "7"),
    ("\\boxed{{7}}", "7"),
    ("boxed{7}", "7"),
    ("\\boxed 7.", "7"),
    ("so $\\boxed7$", "7"),
    ("\\bbox[5px]{7}", "7"),
    ("\\boxed{7", "7"),
    ("so $\\boxed{\\frac{1}{2}$. Done.", "\\frac{1}{2}"),
    ("The answer is $\\boxed{\\frac{1}{2}$.", "\\frac{1}{2}"),
    ("<think>\\boxed{1}</think>It is \\boxed{2}.", "2"),
    ("<think>\\boxed{1}</think>The answer is 2.", "2"),
    ("<think>\\boxed{1}</think>", None),
    ("<think>so \\boxed{1} perhaps", "1"),
]

TAGGED = [
    ("<answer>42</answer>", "42"),
    ("<answer>\\boxed{42}</answer>", "42"),
    ("<think> The value is 1212 * 40, so 48480. </think><answer> 48480 </answer>", "48480"),
    ("<answer>1</answer> Wait. <answer>2</answer>", "2"),
    ("\\boxed{1}, so <answer>2</answer>", "2"),
    ("<answer>1</answer>\n\\boxed{2}", "2"),
    ("<answer>42", "42"),
    ("I use <answer></answer> tags. The result is 7.", "7"),
    ("<answer>The final answer is 42.</answer>", "42"),
    ("<answer>Monday</answer>", "Monday"),
    ("<Final_Answer>x + 1</Final_Answer>", "x + 1"),
]

HASHES = [
    ("We add: 3 + 4 = 7.\n#### 7", "7"),
    ("so 42. #### 42", "42"),
    ("The answer is 12. Check: 3 * 4 = 12, and 5 is left.\n#### 2,125", "2,125"),
    ("It falls.\n#### -3", "-3"),
    ("#### $18", "18"),
    ("#### **42**", "42"),
    ("#### 42 apples\nDone.", "42"),
    ("#### \\(\\frac{1}{2}\\)", "\\frac{1}{2}"),
    ("#### 1. Add\n3 + 4 = 7\n#### 2. Double\nso 14", "14"),
    ("#### Step 3\nso 5", "5"),
    ("#### Final Answer\n42", "42"),
    ("#### 12\nNo. The answer is 13.", "13"),
]

STATED = [
    ("**Answer:** 7", "7"),
    ("**Answer:** 4.", "4"),
    ("**Answer: 7**", "7"),
    ("*Answer*: *7*", "7"),
    ("Answer = 5", "5"),
    ("The answer: -5", "-5"),
    ("ANSWER IS 5", "5"),
    ("Final Answer: 7", "7"),
    ("**Final Answer**\n\n42", "42"),
    ("## Final Answer\n\\[ 42 \\]", "42"),
    ("### Answer\n\n$$\nx = 42\n$$", "x = 42"),
    ("✅ Final Answer: **73**", "73"),
    ("Hence it is **73**.\n\n---\n\nFinal Answer: **73**", "73"),
    ("Final Answer: The final answer is $7$. I hope it is correct.", "7"),
    ("Final Answer:\nThe last three digits of \\(2003^{2002^{2001}}\\) are:\n\\[Answer: 009\\]", "009"),
    ("Final Answer:\nThe last three digits of \\(2003^{2002^{2001}}\\) are:\n\\[009\\]", "009"),
    ("The final answer is \\frac{1}{2}", "\\frac{1}{2}"),
    ("The answer is 72, in total, so the farmer earns that much.", "72"),
    ("The answer is 72 clips in 3 boxes.", "72"),
    ("The answer is 12 because 3*4 = 12.", "12"),
    ("The answer is 5 + 3 = 8.", "8"),
    ("The answer is 3/4 of the total.", "3/4"),
    ("The answer is approximately 3.14.", "3.14"),
    ("The answer is 42!", "42"),
    ("So the answer to the question is 5.", "5"),
    ("The answer, therefore, is 5.", "5"),
    ("The answer is not 5 but 6.", "6"),
    ("The answer is 5. We do not need 7.", "5"),
    ("So we get 42. The answer is correct.", "42"),
    ("Therefore, the answer is $7.50.", "7.50"),
    ("The answer is \\$1,234.5", "1,234.5"),
    ("The answer is 12%.", "12%"),
    ("The answer is (3, 4).", "(3, 4)"),
    ("The answer is $[2, 5)$.", "[2, 5)"),
    ("The answer is 3:4.", "3:4"),
    ("The answer is 3 : 4.", "3 : 4"),
    ("The answer is 5 percent.", "5%"),
    ("The answer is 12:30 PM.", "12:30 PM"),
    ("The answer is twenty-one (21).", "21"),
    ("The answer is (x+1)(x-2).", "(x+1)(x-2)"),
    ("The answer is $\\{1, 2\\}$.", "\\{1, 2\\}"),
    ("The answer is f(x) = 2x + 1.", "f(x) = 2x + 1"),
    ("The answer is 5, not 6.", "5"),
    ("I got 5, but the answer is 6", "6"),
    ("Is the answer 5? No. It is 6.", "6"),
    ("Answer: 7 (since 3 + 4 = 7)", "7"),
    ("Answer: 5 apples\nBecause 8 - 3 = 5", "5"),
    ("The answer is $12,345.67.", "12,345.67"),
    ("The final answer is 5<|im_end|>", "5"),
    ("The answer is\n\n42", "42"),
    ("The answer is the sum of 3 and 4, which is 7.", "7"),
    ('The answer is "Paris".', "Paris"),
    ("The answer is 2 1/2.", "2 1/2"),
    ("The answer is $3$ and $5$.", "3, 5"),
    ("The answer is x = 3 or x = 5.", "x = 3, x = 5"),
    ("The answer is 2x + 4y - 3 = 0.", "2x + 4y - 3 = 0"),
    ("The answer is x**2.", "x**2"),
    ("The answer is 5 hours 30 minutes.", "5 hours 30 minutes"),
    ("The answer is Monday.", "Monday"),
    ("Final answer: **Monday**", "Monday"),
    ("Answer: The total is 42 pens for 3 children.", "42"),
    ("Answer: Let us think. 3 + 4 = 7. " + LONG + "So it is 21.", "21"),
    ('{"answer": "42"}', "42"),
    ('{"reasoning": "3 * 14", "answer": 42}', "42"),
    ("答案是 7。", "7"),
    ("最终答案：42", "42"),
    ("Die Antwort lautet 42.", "42"),
    ("La réponse est 42.", "42"),
    ("Respuesta: 42", "42"),
]

LAST_VALUES = [
    ("She has 8 apples left.", "8"),
    ("The total is 72 clips, altogether.", "72"),
    ("It costs 5 dollars, so she has 3 left.", "3"),
    ("so it is $9{,}500.", "9500"),
    ("His profit is $200,000 - $130,000 = $70,000.", "70,000"),
    ("Therefore $x = \\frac{3}{4}$.", "x = \\frac{3}{4}"),
    ("Thus the value is **$\\frac{3}{4}$**.", "\\frac{3}{4}"),
    ("the angle is pi/2", "pi/2"),
    ("The solutions are x = 3 and x = 5.", "x = 3, x = 5"),
    ("The solutions are 3, 5 and 7.", "3, 5, 7"),
    ("In 2024, 5 people came.", "5"),
    ("so x^2 + 1 is it", "x^2 + 1"),
    ("the area is $25\\pi \\text{ cm}^2$.", "25\\pi \\text{ cm}^2"),
    ("There are 5 values of $x$.", "5"),
    ("so $n$", "n"),
    ("There are 9 + 6 = 15 liters of water in the 24 liters.", "15"),
    ("The total is 72 clips in 3 boxes.", "72"),
    ("\\begin{align*}\nx &= 3 + 4 \\\\\n&= 7.\n\\end{align*}", "7"),
    ("so $AB = \\frac{5}{4}$, or $1.25$.", "1.25"),
    ("$36 - 19 = 17 = x$", "17"),
    ("Thus $7! \\times 2!=10080$.", "10080"),
    ("$v/c \\simeq 0.033$", "0.033"),
    ("The side is $\\sqrt{2} \\approx 1.41$.", "\\sqrt{2}"),
    ("$x = \\frac{3}{4}$, in this case $0.75$ of it", "0.75"),
    ("Then $c = 14,$ and $a = 14 \\cdot 36 = 504.$", "504"),
    ("It is 5, by step 3.", "5"),
    ("word\n" * 40_000 + "so 7", "7"),
    ("I do not know", None),
    ("A cat sat on the mat.", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), [*BOXED, *TAGGED, *HASHES, *STATED, *LAST_VALUES])
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


LETTERS = [
    ("(E) something", "E"),
    ("E: text", "E"),
    ("E. something", "E"),
    ("E) 7", "E"),
    ("E - text", "E"),
    ("\\textbf{(E)}\\ 7", "E"),
    ("$\\textbf{(E)}\\ 7$", "E"),
    ("\\boxed{E}", "E"),
    ("\\boxed{(E)}", "E"),
    ("\\boxed{\\text{E}}", "E"),
    ("\\boxed{\\textbf{(E)}\\ 7}", "E"),
    ("\\boxed{\\text{(E) } 7}", "E"),
    ("\\boxed{E: A polygenic risk score}", "E"),
    ("\\boxed{\\text{E. An egg}}", "E"),
    ("\\boxed{C} at first ... \\boxed{\\text{E}}", "E"),
    ("\\boxed{e}", "E"),
    ("\\boxed{\\text{Option E}}", "E"),
    ("<answer>E</answer>", "E"),
    ("<answer>(E) 42</answer>", "E"),
    ("#### E", "E"),
    ("e", "E"),
    ("e. 4", "E"),
    ("(e)", "E"),
    ("E", "E"),
    ("**E**", "E"),
    ("**E) 7**", "E"),
    ("Answer: E", "E"),
    ("ANSWER: $E$", "E"),
    ("ANSWER: **E**", "E"),
    ("***ANSWER***: ***E***", "E"),
    ("ANSWER: E,", "E"),
    ("Answer: (E) 12", "E"),
    ("Answer:\n\nE", "E"),
    ("Answer: <E>", "E"),
    ('{"answer": "E"}', "E"),
    ("The correct answer is e.", "E"),
    ("The answer is \\(E\\).", "E"),
    ("The answer is E. Note that A is a common distractor.", "E"),
    ("ANSWER IS E. A is incorrect.", "E"),
    ("The answer is E because I computed the integral.", "E"),
    ("The answer is E because a car moves.", "E"),
    ("The calculated answer is 11.\n\nAnswer seems to be A.\n\nAnswer: E", "E"),
    ("Answer: this asks which is a colour\nANSWER: E", "E"),
    ("Answer: It is not B, the answer is E", "E"),
    ("Answer: I think it is E", "E"),
    ("I considered (A), but it is incorrect. Final answer: E.", "E"),
    ("I would pick E — a safe choice.", "E"),
    ("The correct option is E.", "E"),
    ("So the answer is option (E).", "E"),
    ("Option E is correct, and option A is not.", "E"),
    ("E is the correct answer.", "E"),
    ("\\boxed{\\Delta E}\n\nAnswer: C", "C"),
    ("选项 (E) $3.3\\mathrm{MeV}$。", "E"),
    ("答案：E", "E"),
    ("答案是 E。", "E"),
]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
@pytest.mark.parametrize("gold", ["E", "(E)", "\\text{(E)}"])
def test_where_the_gold_answer_is_a_letter_the_letter_is_found(text: str, letter: str, gold: str) -> None:
    assert final_answer(text, gold) == letter


NO_LETTERS = [
    "A cat sat on the mat.",
    "\\boxed{A cat}",
    "\\boxed{A positive integer}",
    "The answer is A cat.",
    "The answer is a cat.",
    "None of the above",
    "I don't know",
    "I think it is hard.",
    "ANSWER: A, C",
    "The answer is A and C.",
    "The answer is (A) or (C).",
    "\\boxed{A, C}",
    "\\boxed{AC}",
    "\\boxed{A = \\pi r^2}",
    "\\boxed{A + 1}",
    "\\boxed{A_1}",
    "Answer: 7",
    "Certainly, Answering D-Day questions is fun.",
]


@pytest.mark.parametrize("text", NO_LETTERS)
@pytest.mark.parametrize("gold", ["A", "C", "D", "I"])
def test_a_capital_letter_is_not_always_a_choice(text: str, gold: str) -> None:
    assert final_answer(text, gold) != gold


@pytest.mark.parametrize(
    ("text", "gold", "answer"),
    [
        ("The answer is (a) 3.", "3", "3"),
        ("Answer: (C) 12", "12", "12"),
        ("\\boxed{\\textbf{(E)}\\ 7}", "7", "7"),
        ("\\boxed{\\text{(E) }7}", "7", "7"),
        ("\\boxed{B. 12}", "12", "12"),
        ("\\boxed{(A) + 1}", "A + 1", "(A) + 1"),
        ("\\boxed{(3, 4)}", "(3,4)", "(3, 4)"),
        ("\\boxed{\\text{(B) } 7}", "\\text{(B) } 7", "\\text{(B) } 7"),
        ("\\boxed{e}", "e", "e"),
        ("\\boxed{c}", "(c)", "c"),
    ],
)
def test_labels_of_choices_and_gold_values(text: str, gold: str, answer: str) -> None:
    assert final_answer(text, gold) == answer


HUGE = [
    "$" * 30_000,
    "\\(" * 30_000,
    "\\[" * 30_000,
    "(" * 30_000,
    "****" * 30_000,
    "answer is " * 30_000,
    "answer" + " " * 100_000,
    "#### " * 30_000,
    "<answer>" * 30_000,
    "1," * 30_000,
    "\\text{" * 30_000,
    "x = " * 30_000,
    "is " * 30_000,
    "(A) " * 30_000,
    "not " * 30_000,
    "\\boxed{" * 50_000 + "1" + "}" * 50_000,
]


@pytest.mark.parametrize("text", HUGE)
@pytest.mark.parametrize("gold", [None, "A"])
def test_the_time_is_bounded(text: str, gold: str | None) -> None:
    # With quadratic time this would exceed the time limit of the test suite.
    final_answer(text, gold)
