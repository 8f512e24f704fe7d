"""Write generated word problems, which the demo pair can solve, to a problem file.

    python scripts/make_problems.py FILE.jsonl [--count 1000] [--seed 5]

The results in docs/performance.md use seed 5; nothing was trained, selected or tuned on it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rstitch_local.builtin.word_problems import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    rows = word_problems(arguments.seed, arguments.count)
    arguments.file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def word_problems(seed: int, count: int) -> list[dict[str, str]]:
    """Generate rows of a problem file."""
    problems = (generate(seed, index) for index in range(count))
    return [
        {"id": str(index), "question": problem.question, "answer": str(problem.answer)}
        for index, problem in enumerate(problems)
    ]


if __name__ == "__main__":
    main()
