"""Untrusted text on a terminal, and sizes."""

from __future__ import annotations

import pytest

from rstitch_local.sanitize import human_bytes, human_seconds, one_line, safe_text, shown_list


def test_safe_text_removes_control_characters() -> None:
    assert safe_text("a\x1b[31mb\x07\x08\r\x9bc\x7f\u202e\u2066d\ud800\x00") == "a[31mbcd"
    plain = "Tabs\tand\nlines, ünï 漢字 🙂, نمی\u200cخواهم, 👩\u200d🔬"
    assert safe_text(plain) == plain


def test_one_line_is_short_and_safe() -> None:
    assert one_line("a\x1b[31m\x07b\u202ec\nd\te\x9b") == "a[31mbc d e"
    assert one_line("a\r\nb") == "a b"
    assert len(one_line("x" * 500)) == 80
    assert len(one_line(ValueError("x" * 1000), 240)) == 240


def test_list_shows_its_first_items() -> None:
    assert shown_list(["a", "b\n", "c"], most=2) == "a, b and 1 more"
    assert shown_list(["a"]) == "a"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (491_400_064, "491 MB"), (1_117_320_768, "1.12 GB")],
)
def test_human_bytes(count: int, shown: str) -> None:
    assert human_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0.0 ms"), (0.0021, "2.1 ms"), (0.045, "45 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s")]
)
def test_human_seconds(seconds: float, shown: str) -> None:
    assert human_seconds(seconds) == shown
