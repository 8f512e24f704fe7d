from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rstitch_local.problems.grading import Grader, GraderError, Verdict, grader_identity

PYTHON = [sys.executable, "-c"]
READY = "import json,sys,time; print(json.dumps({'ready': True}), flush=True); "


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as grader:
        yield grader


def test_verdicts(grader: Grader) -> None:
    assert grader.grade("0.5", "so \\boxed{\\frac{1}{2}}") == Verdict("\\frac{1}{2}", True)
    assert grader.grade("0.5", "so it is 0.25") == Verdict("0.25", False)
    assert grader.grade(None, "so \\boxed{3}") == Verdict("3", None)
    assert grader.grade("3", "") == Verdict(None, False)
    assert grader.grade("E", "\\boxed{\\text{(E) } 7}") == Verdict("E", True)
    assert grader.grade("9500", "The profit is $9{,}500.") == Verdict("9500", True)
    assert grader.grade("é", "\\boxed{é}\u2028") == Verdict("é", True)


HOSTILE = [
    "\\boxed{9^{9^{9^{9^9}}}}",
    "so 9**9**9**9**9",
    "\\boxed{" + "(" * 1900 + "}",
    "\\boxed{" + "\\sqrt{" * 300 + "5" + "}" * 300 + "}",
    "\\boxed{__import__('os').system('exit 1')}",
    "$" * 30_000,
    "\x00\x01 \\boxed{\x00}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_counts_as_wrong_and_the_next_text_is_graded(text: str) -> None:
    with Grader(time_limit_seconds=2) as grader:
        assert grader.grade("3", text).correct is False
        assert grader.grade("3", "\\boxed{3}") == Verdict("3", True)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", r"\frac{5^{5^{5^{5^{5}}} - 4} - 5}{16}"),
        ("3", r"\tan(10^{10^{10}})"),
        ("3", r"\lfloor \pi^{1000000} \rfloor"),
        ("3", r"\prod_{k=1}^{10^8} k"),
        ("3", "100!!!!!!!!"),
        ("3", r"e^{e^{e^{e^{100}}}}"),
        ("3", r"\binom{10^{12}}{10^{11}}"),
        ("3", "x^" * 500 + "2"),
        ("3", "1" * 1900),
        ("x", "((((x+1)^9+1)^9+1)^9+1)^9"),
        ("y = x", "y = (x+1)^{1000}"),
        (r"\text{" * 200, r"\text{" * 200 + "+1"),
    ],
)
def test_huge_and_deep_expressions_are_judged_without_a_timeout(grader: Grader, gold: str, answer: str) -> None:
    verdict = grader.grade(gold, rf"\boxed{{{answer}}}")
    assert (verdict.correct, verdict.note) == (False, "")


def test_a_timeout_kills_the_process_and_still_reports_the_answer() -> None:
    with Grader(0.2, [*PYTHON, READY + "time.sleep(600)"]) as grader:
        first = grader._process
        verdict = grader.grade("3", "\\boxed{4}")
        assert verdict == Verdict("4", False, "grading took longer than 0.2 s")
        assert first.poll() is not None
        assert grader._process is not first
        assert grader.grade(None, "\\boxed{4}").correct is None


def test_a_crash_costs_one_verdict() -> None:
    with Grader(30, [*PYTHON, READY + "sys.stdin.readline(); sys.exit(3)"]) as grader:
        for _ in range(2):
            assert grader.grade("3", "\\boxed{3}") == Verdict("3", False, "the grading process died")


def test_output_of_libraries_is_not_read_as_a_verdict() -> None:
    noisy = (
        "import sys, rstitch_local.problems.equivalence as e; from rstitch_local.problems.grading_worker import main;"
        "quiet = e.equivalent; e.equivalent = lambda *texts: print('{}', flush=True) or quiet(*texts);"
        "sys.argv = ['worker', '30']; main()"
    )
    with Grader(30, [*PYTHON, noisy]) as grader:
        assert grader.grade("3", "It is 3.") == Verdict("3", True)


def test_the_error_says_why_the_grader_does_not_start() -> None:
    fatal = "import json; print(json.dumps({'fatal': 'No module named sums'}))"
    for code, why in ((fatal, "No module named sums"), ("raise SystemExit(9)", "exit code")):
        with Grader(30, [*PYTHON, code]) as grader, pytest.raises(GraderError, match=why):
            grader.grade("3", "\\boxed{3}")


def test_the_grading_process_does_not_import_llama_cpp() -> None:
    code = (
        "import sys, rstitch_local.problems.grading_worker, rstitch_local.problems.equivalence;"
        "print([m for m in sys.modules if m.startswith(('llama_cpp', 'rstitch_local.llama', 'rich'))])"
    )
    done = subprocess.run([*PYTHON, code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_in_the_current_folder_are_not_imported(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open("sympy.py", "w") as file:  # noqa: PTH123
        file.write("raise SystemExit(1)")
    with Grader() as grader:
        assert grader.grade("3", "\\boxed{3}").correct


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_ctrl_c_does_not_reach_the_grading_process(grader: Grader) -> None:
    assert grader.grade("1", "\\boxed{1}").correct
    assert os.getpgid(grader._process.pid) != os.getpgid(0)


def test_the_process_ends_with_the_grader() -> None:
    with Grader() as grader:
        process = grader._process
        assert grader.grade("3", "\\boxed{3}").correct
    assert process.poll() is not None


def test_the_process_ends_when_stdin_is_closed() -> None:
    command = [sys.executable, "-m", "rstitch_local.problems.grading_worker", "5"]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert process.returncode == 0
    assert b"ready" in process.stdout


def test_identity() -> None:
    identity = grader_identity()
    assert identity["name"] == "math-verify"
    assert identity["version"]
