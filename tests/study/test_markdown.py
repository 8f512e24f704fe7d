from __future__ import annotations

import csv
import io

import pytest

from rstitch_local.study.formats import csv_text, number, p_value, percent, points, ratio, seconds, share
from rstitch_local.study.markdown import escape, image, table


def test_markup_in_untrusted_text_is_escaped() -> None:
    assert escape("a|b\n<i>[x](y)\x1b[31m") == "a\\|b \\<i\\>\\[x\\](y)\\[31m"
    assert escape("http://x `y` *z* $q$ :smile:") == "http\\://x \\`y\\` \\*z\\* \\$q\\$ \\:smile:"
    assert escape("window:8:0.003 is slower: 2x") == "window:8:0.003 is slower: 2x"
    assert len(escape("x" * 100, 10)) == 10
    assert escape("a\nb") == "a b"


def test_tables_and_images() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert table(["a", "b"], [["1", "2"]], align_right=True) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert image("x", "a plot") == "![a plot](x.png)\n\n[x.svg](x.svg)"


def test_numbers() -> None:
    assert share(0, 0) == "0 of 0"
    assert share(5, 20) == "5 of 20 (25.0%, 95 % interval 11.2% to 46.9%)"
    assert [number(value) for value in (None, 0.12345, 12.345, 1234.5)] == ["--", "0.123", "12.3", "1,234"]
    assert (percent(0.75, (0.4, 0.9)), percent(0.75, None), percent(None, None)) == ("75.0% (40 to 90)", "75.0%", "--")
    assert (ratio(2, (1.5, 2.5)), ratio(2, None), ratio(None, None)) == ("2.00x (1.50 to 2.50)", "2.00x", "--")
    assert [points(value) for value in (0.01, 0.025, None)] == ["1 point", "2.5 points", "nothing"]
    assert [seconds(value) for value in (12.34, 0.0456)] == ["12.3 s", "45.6 ms"]


@pytest.mark.parametrize(("p", "text"), [(1.0, "= 1"), (0.0466, "= 0.047"), (0.00012, "= 0.00012"), (1e-9, "< 0.0001")])
def test_p_values(p: float, text: str) -> None:
    assert p_value(p) == text


def test_csv_quotes_text() -> None:
    text = csv_text([{"id": 'a,"b"\nc', "value": None}, {"id": "é", "value": 0.5}])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows == [{"id": 'a,"b"\nc', "value": ""}, {"id": "é", "value": "0.5"}]
    assert csv_text([]) == ""
