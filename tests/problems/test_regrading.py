from __future__ import annotations

from pathlib import Path

from problem_fakes import row

from rstitch_local.problems.grading import Grader
from rstitch_local.problems.regrading import regrade
from rstitch_local.problems.run_folder import RunFolder


def test_regrading_changes_verdicts_only(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder, Grader() as grader:
        folder.begin({"grader": "old"}, {})
        wrong = {**row("a", True), "correct": False, "answer": "?"}
        failed = row("b", False, stop="error", error="Broken logits", text="\\boxed{4}")
        for answer in (wrong, failed, row("c", None)):
            folder.append(answer)
        lines: list[int] = []
        assert regrade(folder, grader, lines.append) == 1
        assert lines == [1, 2, 3]
        assert regrade(folder, grader) == 0
    with RunFolder(tmp_path) as folder:
        assert folder.answers == [row("a", True), failed, row("c", None, answer="5")]
