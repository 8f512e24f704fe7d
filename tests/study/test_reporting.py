from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rstitch_local.errors import StorageError
from rstitch_local.study.reporting import cell, share, table, write_csv, write_text


def test_nothing_of_a_stranger_s_text_is_markdown() -> None:
    assert cell("a|b\n<i>[x](y)\x1b[31m") == "a\\|b \\<i\\>\\[x\\](y)\\[31m"
    assert cell("http://x `y` *z* $q$") == "http\\://x \\`y\\` \\*z\\* \\$q\\$"
    assert len(cell("x" * 100, 10)) == 10


def test_tables_and_shares() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert share(0, 0) == "0 of 0"
    assert share(5, 20) == "5 of 20 (25.0%, 95 % interval 11.2% to 46.9%)"


def test_csv_keeps_what_is_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_csv(path, [{"id": 'a,"b"\nc', "value": None}, {"id": "é", "value": 0.5}])
    with path.open(encoding="utf-8", newline="") as lines:
        assert list(csv.DictReader(lines)) == [{"id": 'a,"b"\nc', "value": ""}, {"id": "é", "value": "0.5"}]
    write_csv(path, [])
    assert path.read_bytes() == b""
    with pytest.raises(StorageError, match="Cannot write"):
        write_text(tmp_path, "x")
