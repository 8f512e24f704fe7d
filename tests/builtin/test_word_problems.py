"""The generator: correct, deterministic, within its domain, and varied."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest

from rstitch_local.builtin import word_problems, wording
from rstitch_local.builtin.word_problems import WordProblem, drill, generate

EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
SAMPLE = 1500
QUESTIONS_SHA256 = "551b48702c30696fde12fd6ddf47033a1239c4f028f16fa26939e6ab128e7002"


@pytest.fixture(scope="module")
def problems() -> list[WordProblem]:
    return [generate(word_problems.EVALUATION_SEED, index) for index in range(SAMPLE)]


def holds(left: int, op: str, right: int, result: int) -> bool:
    """Whether an equation is true; a division must be exact."""
    if op == "/":
        return right != 0 and left == right * result
    return {"+": left + right, "-": left - right, "*": left * right}[op] == result


def equations(text: str) -> list[tuple[int, str, int, int]]:
    return [(int(a), op, int(b), int(c)) for a, op, b, c in EQUATION.findall(text)]


def boxed(text: str) -> int:
    (number,) = re.findall(r"\\boxed\{(\d+)\}", text)
    return int(number)


def test_equations_of_both_solutions_are_true(problems: list[WordProblem]) -> None:
    for problem in problems:
        for text in (problem.long_solution, problem.short_solution):
            all_equations = equations(text)
            assert all_equations
            assert all(holds(*equation) for equation in all_equations), text


def test_both_solutions_box_the_answer(problems: list[WordProblem]) -> None:
    for problem in problems:
        assert boxed(problem.long_solution) == boxed(problem.short_solution) == problem.answer
        assert equations(problem.short_solution)[-1][-1] == problem.answer


def test_numbers_stay_in_the_domain(problems: list[WordProblem]) -> None:
    for problem in problems:
        assert 2 <= len(problem.steps) <= 6
        for left, op, right, result in equations(problem.short_solution):
            assert 1 <= left <= 999
            assert 1 <= result <= 999
            if op in "*/":
                assert 2 <= right <= 9


def test_steps_use_numbers_of_the_question_or_of_earlier_steps(problems: list[WordProblem]) -> None:
    words = {word: str(number) for number, word in enumerate(wording.NUMBER_WORDS)}
    words |= {"twice": "2", "half": "2", "doubles": "2"}
    for problem in problems:
        text = re.sub(r"[a-z]+", lambda m: words.get(m[0], m[0]), problem.question.lower())
        known = {int(n) for n in re.findall(r"\d+", text)}
        for step in problem.steps:
            assert {step.left, step.right} <= known, problem
            known.add(step.result)


def test_problems_of_a_seed_never_change() -> None:
    # The shipped models were trained on these problems, and published results refer to them.
    questions = "\n".join(generate(1, index).question for index in range(300))
    assert hashlib.sha256(questions.encode()).hexdigest() == QUESTIONS_SHA256
    assert generate(1, 7) != generate(2, 7)


def test_number_of_steps_can_be_chosen() -> None:
    for steps in range(2, 7):
        assert len(generate(9, steps, steps=steps).steps) == steps


def test_questions_vary(problems: list[WordProblem]) -> None:
    assert len({problem.question for problem in problems}) > 0.99 * SAMPLE
    shapes = Counter(re.sub(r"\d+", "#", problem.question) for problem in problems)
    assert len(shapes) > 0.9 * SAMPLE
    operations = Counter(step.op for problem in problems for step in problem.steps)
    assert min(operations[op] for op in "+-*/") > 0.08 * sum(operations.values())


def test_long_style_is_at_least_two_and_a_half_times_as_long(problems: list[WordProblem]) -> None:
    long = sum(len(problem.long_solution) for problem in problems)
    short = sum(len(problem.short_solution) for problem in problems)
    assert long > 2.5 * short


def test_drills_are_single_operations() -> None:
    for index in range(300):
        problem = drill(1, index)
        assert len(problem.steps) == 1
        assert all(holds(*equation) for equation in equations(problem.long_solution))
        assert problem.question.strip()
