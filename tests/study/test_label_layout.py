from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_local.study.label_layout import Box, Label, place_labels

FRAME = Box(0, 0, 1000, 600)
NO_DOTS = np.empty((0, 2))
SIZE = (80.0, 12.0)


def place(*points: tuple[float, float], dots: np.ndarray = NO_DOTS) -> list[Label]:
    return place_labels(points, [SIZE] * len(points), FRAME, dots, 1.0)


def test_a_single_label_is_above_and_to_the_right() -> None:
    (label,) = place((500, 300))
    assert label.box.left > 500
    assert label.box.bottom > 300
    assert not label.is_far
    assert (label.box.right - label.box.left, label.box.top - label.box.bottom) == (SIZE[0] + 6, SIZE[1] + 2)


def test_labels_in_corners_stay_inside_the_frame() -> None:
    for corner in itertools.product((5, 995), (5, 595)):
        (label,) = place(corner)
        assert FRAME.overlap(label.box) == pytest.approx(label.box.area)


def test_a_label_avoids_a_line() -> None:
    line = np.stack([np.arange(500.0, 700, 4), np.arange(300.0, 350, 1)], axis=1)
    (label,) = place((500, 300), dots=line)
    box = label.box
    assert [(x, y) for x, y in line if box.left < x < box.right and box.bottom < y < box.top] == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(200, 800), st.integers(150, 450)), min_size=1, max_size=7, unique=True))
def test_labels_cover_neither_each_other_nor_points(points: list[tuple[int, int]]) -> None:
    labels = place(*points)
    for one, other in itertools.combinations(labels, 2):
        assert one.box.overlap(other.box) <= 1
    for x, y in points:
        assert not any(b.left < x < b.right and b.bottom < y < b.top for b, _ in labels)


def test_close_points_on_a_line() -> None:
    labels = place(*((500 + 6 * n, 300) for n in range(8)))
    for one, other in itertools.combinations(labels, 2):
        assert one.box.overlap(other.box) <= 1
    assert any(label.is_far for label in labels)
