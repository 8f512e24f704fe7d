from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from bench_fakes import results_of, some_rows
from problem_fakes import row

from rstitch_local.errors import StorageError
from rstitch_local.study.bench_report import BenchReport

MARKUP = "](x) <b>|`\x1b[31m"


def test_the_three_files_agree(tmp_path: Path) -> None:
    results, _ = results_of(llm=some_rows("rrwr", 200), entropy_1=some_rows("rrre", 100))
    BenchReport(results, ["It is faster."], {"pair": "a_b", "begun": "today"}, 2).write(
        tmp_path, ["accuracy-share.svg"]
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Bench\n\nIt is faster.\n")
    line = next(line for line in text.splitlines() if line.startswith("| `entropy:1` | 75.0%"))
    # Times are those of the three answers without an error of both routers.
    assert "| 1 / 1 | 1 | 0.101 | 0.101 | 1.99x (1.98 to 2.00) |" in line
    assert "![accuracy share](accuracy-share.svg)" in text
    assert "- pair: a\\_b\n- started: today" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "figures.csv").read_text())))
    assert [each["router"] for each in rows] == ["llm", "entropy:1"]
    assert float(rows[1]["accuracy"]) == 0.75
    assert rows[0]["speed_up_interval_low"] == ""
    assert float(rows[1]["rest_seconds"]) == pytest.approx(0.101 - 0.009)
    record = json.loads((tmp_path / "figures.json").read_text())
    assert list(record) == ["plain_words", "measured", "split_problems", "routers"]
    assert record["measured"] == {"pair": "a_b", "begun": "today"}
    assert record["split_problems"] == 2
    assert record["routers"][1]["accuracy"] == 0.75
    assert record["routers"][1]["failures"] == [{"id": "p3", "sample": 0, "error": "NaN logits"}]


def test_untrusted_text_is_escaped() -> None:
    rows = [row(MARKUP, False, stop="error", error=MARKUP, wall_ms=0.0)]
    results, _ = results_of(llm=rows)
    text = BenchReport(results, [MARKUP], {"prompt": MARKUP}).markdown()
    assert "\x1b" not in text
    assert text.count("\\](x) \\<b\\>\\|\\`\\[31m") == 4


def test_only_the_first_errors_are_listed() -> None:
    results, _ = results_of(llm=some_rows("e" * 30))
    text = BenchReport(results, [], {}).markdown()
    assert "- and 10 more" in text
    assert "--" in text


def test_a_file_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    results, _ = results_of(llm=some_rows("r"))
    (tmp_path / "report.md").mkdir()
    with pytest.raises(StorageError, match=r"report\.md"):
        BenchReport(results, [], {}).write(tmp_path)
