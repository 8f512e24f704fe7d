r"""Grade a file of cases with the product's grader, and list those it gets wrong.

    python scripts/grading_cases.py CASES.jsonl

One JSON object a line: `gold`, `answer`, `expected` (whether the answer is correct), `source`, and `kind`: `pair` for a
bare answer, which is graded as `\boxed{answer}`, or `text` for the whole text of a model. Prints how many verdicts of
each kind are as expected, and the time per case. Exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from rstitch_local.problems.grading import RULES_VERSION, Grader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    cases = [json.loads(line) for line in parser.parse_args().file.read_text(encoding="utf-8").splitlines() if line]
    right, total = Counter[str](), Counter[str]()
    milliseconds = []
    with Grader() as grader:
        # The first comparison waits for the grading process.
        grader.grade("1", r"\boxed{2}")
        for case in cases:
            text = case["answer"] if case["kind"] == "text" else rf"\boxed{{{case['answer']}}}"
            start = time.perf_counter()
            verdict = grader.grade(case["gold"], text)
            milliseconds.append((time.perf_counter() - start) * 1000)
            total[case["kind"]] += 1
            if verdict.correct == case["expected"]:
                right[case["kind"]] += 1
                continue
            wanted = "correct" if case["expected"] else "wrong"
            print(f"should be {wanted}: {case['gold']} | {verdict.answer} ({case['source']}) {verdict.note}")
    for kind in total:
        print(f"{kind}: {right[kind]} of {total[kind]}")
    print(f"all: {right.total()} of {total.total()}, grading rules {RULES_VERSION}")
    print(f"{statistics.median(milliseconds):.1f} ms per case (median), {max(milliseconds):.0f} ms at most")
    sys.exit(right != total)


if __name__ == "__main__":
    main()
