from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstitch_local.study.label_layout import Box, Place, place_labels

FRAME = Box(0, 0, 1000, 600)
NO_DOTS = np.empty((0, 2))
SIZE = (80.0, 12.0)


def placed(*spots: tuple[float, float], dots: np.ndarray = NO_DOTS) -> list[Place]:
    return place_labels(spots, [SIZE] * len(spots), FRAME, dots, 1.0)


def test_a_label_alone_goes_up_to_the_right() -> None:
    (place,) = placed((500, 300))
    assert place.box.left > 500
    assert place.box.bottom > 300
    assert not place.far
    assert (place.box.right - place.box.left, place.box.top - place.box.bottom) == (SIZE[0] + 6, SIZE[1] + 2)


def test_a_label_in_a_corner_stays_inside() -> None:
    for corner in itertools.product((5, 995), (5, 595)):
        (place,) = placed(corner)
        assert FRAME.shared(place.box) == pytest.approx(place.box.area)


def test_a_label_goes_around_a_line() -> None:
    line = np.stack([np.arange(500.0, 700, 4), np.arange(300.0, 350, 1)], axis=1)
    (place,) = placed((500, 300), dots=line)
    inside = [(x, y) for x, y in line if place.box.left < x < place.box.right and place.box.bottom < y < place.box.top]
    assert inside == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(200, 800), st.integers(150, 450)), min_size=1, max_size=7, unique=True))
def test_some_points_are_labelled_without_covering(spots: list[tuple[int, int]]) -> None:
    places = placed(*spots)
    for one, other in itertools.combinations(places, 2):
        assert one.box.shared(other.box) <= 1
    for x, y in spots:
        assert not any(p.box.left < x < p.box.right and p.box.bottom < y < p.box.top for p in places)


def test_a_crowd_of_points_on_a_line() -> None:
    places = placed(*((500 + 6 * n, 300) for n in range(8)))
    for one, other in itertools.combinations(places, 2):
        assert one.box.shared(other.box) <= 1
    assert any(place.far for place in places)
