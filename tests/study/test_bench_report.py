from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from bench_fakes import results_of, some_rows
from problem_fakes import row

from rstitch_local.errors import StorageError
from rstitch_local.study.bench_report import report_text, write_report

MARK = "](x) <b>|`\x1b[31m"


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    figures, _ = results_of(llm=some_rows("rrwr", 200), entropy_1=some_rows("rrre", 100))
    text = report_text("Bench", ["It is faster."], {"pair": "a_b"}, figures, ["accuracy-share.svg"])
    write_report(tmp_path, text, figures, {"split_problems": 0})
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Bench\n\nIt is faster.\n")
    line = next(line for line in report.splitlines() if line.startswith("| `entropy:1` | 75.0%"))
    # The times are those of the three answers that both have without an error.
    assert "| 1 / 1 | 1 | 0.101 | 0.101 | 1.99x (1.98 to 2.00) |" in line
    assert "![accuracy share](accuracy-share.svg)" in report
    assert "- pair: a\\_b" in report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "figures.csv").read_text())))
    assert [given["router"] for given in rows] == ["llm", "entropy:1"]
    assert float(rows[1]["accuracy"]) == 0.75
    assert rows[0]["speed_up_interval_low"] == ""
    assert float(rows[1]["rest_seconds"]) == pytest.approx(0.101 - 0.009)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["split_problems"] == 0
    assert found["routers"][1]["accuracy"] == 0.75
    assert found["routers"][1]["failures"] == [{"id": "p3", "sample": 0, "error": "NaN logits"}]


def test_texts_of_strangers_are_no_markup() -> None:
    rows = [row(MARK, False, stop="error", error=MARK, wall_ms=0.0)]
    figures, _ = results_of(llm=rows)
    report = report_text("Bench", [MARK], {"prompt": MARK}, figures)
    assert "\x1b" not in report
    assert report.count("\\]\\(x\\)") + report.count("\\](x) \\<b\\>\\|\\`") == 4


def test_many_errors_are_counted() -> None:
    figures, _ = results_of(llm=some_rows("e" * 30))
    report = report_text("Bench", [], {}, figures)
    assert "- and 10 more" in report
    assert "--" in report


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    figures, _ = results_of(llm=some_rows("r"))
    (tmp_path / "report.md").mkdir()
    with pytest.raises(StorageError, match=r"report|directory|denied"):
        write_report(tmp_path, "", figures, {})
