"""Percentages, units, currencies and angles."""

from __future__ import annotations

import pytest

from rstitch_local.problems.equivalence import equivalent

# Gold answer, correct answers, wrong answers.
CASES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # Percent
    (r"50\%", ("50", "0.5", r"\frac12"), ("5", r"500\%")),
    ("0.5", (r"50\%",), (r"0.5\%",)),
    ("50", (r"50\%",), ()),
    (r"28\%", ("28 percent", "28 pct", r"28\text{ percent}", "28 per cent", "28 percentage"), ("0.0028",)),
    (r"33\frac13\%", (r"\frac13",), ()),
    ("0.28", ("28%",), ()),
    ("12.5", (r"12\frac12 \%",), ()),
    (r"\frac{1}{4}", (r"25\%",), ()),
    (r"100\%", ("1",), ()),
    (r"150\%", ("1.5",), ()),
    # Units, currencies, degrees
    ("5", ("5 cm", r"5\text{ cm}", r"\$5", "£5", "5€", "5 apples"), ("5 million",)),
    (r"5\text{ cm}", ("5",), (r"5\text{ m}", r"5\text{ cm}^2")),
    (r"5\text{ m}", (r"500\text{ cm}",), (r"50\text{ cm}",)),
    (r"5\text{ cm}^2", (r"5\,\mathrm{cm}^2", "5 square centimeters"), ()),
    (r"5\text{ kg}", (r"5000\text{ g}",), (r"5\text{ g}",)),
    (r"1\text{ hour}", ("60 minutes",), ("1 minute",)),
    ("10 m/s", ("36 km/h",), ("10 km/h",)),
    (r"9.8 \text{ m/s}^2", (r"9.8\ \frac{\text{m}}{\text{s}^2}",), ()),
    (r"\$5", ("5", "5 dollars", r"5 \text{ dollars}", "500 cents"), ("5 cents", "€5")),
    (r"\$1,250.50", ("1250.5",), ()),
    (r"\$1,250", ("1250 dollars",), ()),
    ("1,250", ("$1,250",), ()),
    (r"30^\circ", ("30", r"\frac{\pi}{6}", "30 degrees", r"30\text{ degrees}"), ("31°",)),
    ("30", ("30°",), ()),
    (r"20^\circ\text{C}", (r"20^\circ C",), (r"20^\circ\text{F}",)),
    ("20", (r"20^\circ\text{C}",), ()),
    ("5 apples", ("5",), ("6 apples",)),
    (r"4\sqrt{2}\text{ cm}", (r"4\sqrt{2}",), ()),
    (r"4\sqrt2", (r"4\sqrt{2} \text{ units}",), ()),
    (r"36\pi\text{ cm}^3", (r"36\pi",), ()),
    (r"36\pi", (r"36\pi \text{ cubic inches}",), ()),
    ("5 million", ("5000000",), ("5 billion",)),
    ("5000000", ("5 million", r"5 \text{ million}"), ()),
    (r"12^{\text{th}}", ("12",), ()),
    ("12", ("12th", r"12^{\text{th}}"), ()),
    ("1", ("1st",), ()),
    ("6m", (), ("6",)),
    ("6", (), ("6x",)),
    ("12xy", (), ("12",)),
    (r"864 \mbox{ inches}^2", ("864",), ()),
    (r"5.4 \text{ cents}", ("5.4",), ()),
    ("3 hours", ("180 minutes", "3"), ()),
    ("2 hr", ("2 hours",), ()),
)


@pytest.mark.parametrize(("gold", "correct", "wrong"), CASES)
def test_quantities(gold: str, correct: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert equivalent(gold, gold)
    assert [answer for answer in correct if not equivalent(gold, answer)] == []
    assert [answer for answer in wrong if equivalent(gold, answer)] == []
