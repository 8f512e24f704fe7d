"""Label positions in a scatter plot such that labels cover neither each other nor points.

Pure geometry in pixels, independent of matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DOT_SPACING = 4
"""Spacing in pixels of the dots that represent lines."""
# Directions from a point to its label as (right, up), in order of preference.
_DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1.5), (0, -1.5), (1.5, 0), (-1.5, 0))
_DISTANCES = (8, 14, 24, 38, 56, 80)
_FAR_DISTANCE = 24
_POINT_RADIUS = 5
_ROUNDS = 4
Pixel = tuple[float, float]


class Box(NamedTuple):
    """An axis-aligned rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return (self.right - self.left) * (self.top - self.bottom)

    def overlap(self, other: Box) -> float:
        """Return the area of the intersection with another box, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, pixel: Pixel) -> Pixel:
        """Return the point of the box that is nearest to a pixel."""
        return min(max(pixel[0], self.left), self.right), min(max(pixel[1], self.bottom), self.top)


class Label(NamedTuple):
    """The box of a label including its margin, and whether it needs a line to its point."""

    box: Box
    is_far: bool


def place_labels(
    points: Sequence[Pixel], sizes: Sequence[tuple[float, float]], frame: Box, dots: NDArray[np.float64], scale: float
) -> list[Label]:
    """Choose a position for the label of each point.

    Each label in turn takes the position around its point with the lowest cost (coverage and distance). This is
    repeated a few times, so that early labels adapt to later ones.

    Args:
        points: the points.
        sizes: width and height of each label.
        frame: labels should stay inside it.
        dots: points along lines that labels should not cover, shape (dots, 2).
        scale: pixels per typographic point.
    """
    radius = _POINT_RADIUS * scale
    point_boxes = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    labels: dict[int, Label] = {}
    for _ in range(_ROUNDS):
        before = dict(labels)
        for index, (point, size) in enumerate(zip(points, sizes, strict=True)):
            occupied = point_boxes + [label.box for other, label in labels.items() if other != index]
            others = [other for position, other in enumerate(points) if position != index]
            labels[index] = _place(point, size, occupied, others, frame, dots, scale)
        if labels == before:
            break
    return [labels[index] for index in range(len(points))]


def _place(
    point: Pixel,
    size: tuple[float, float],
    occupied: Sequence[Box],
    others: Sequence[Pixel],
    frame: Box,
    dots: NDArray[np.float64],
    scale: float,
) -> Label:
    options: list[tuple[float, int, Label]] = []
    for distance in _DISTANCES:
        for right, up in _DIRECTIONS:
            box = _box(point, size, right * distance * scale, up * distance * scale * 0.7)
            covered = sum(box.overlap(other) for other in occupied) + box.area - box.overlap(frame)
            inside = (dots >= (box.left, box.bottom)).all(axis=1) & (dots <= (box.right, box.top)).all(axis=1)
            crossed = float(inside.sum()) * DOT_SPACING * DOT_SPACING
            is_far = distance >= _FAR_DISTANCE
            # The line of a far label must not seem to belong to a point that it passes.
            passes_point = is_far and any(_passes(point, box.nearest(point), other) for other in others)
            # Covering a label or a point is worst; covering a line or being far away is acceptable.
            cost = 4.0 * (covered > 1) + (10 * covered + 3 * crossed) / box.area + 2 * passes_point + 0.04 * distance
            options.append((cost, len(options), Label(box, is_far)))
    return min(options)[2]


def _box(point: Pixel, size: tuple[float, float], right: float, up: float) -> Box:
    """Return the box of a label that is moved by (right, up) from its point, with a margin."""
    width, height = size
    # The side that faces the point keeps its distance; straight above or below, the label is centered.
    left = point[0] + right - (width if right < 0 else width / 2 if right == 0 else 0)
    bottom = point[1] + up - (height if up < 0 else height / 2 if up == 0 else 0)
    return Box(left - 3, bottom - 1, left + width + 3, bottom + height + 1)


def _passes(start: Pixel, end: Pixel, point: Pixel) -> bool:
    """Return whether the line from start to end passes within a few pixels of a point."""
    direction = np.subtract(end, start)
    along = np.clip(np.dot(np.subtract(point, start), direction) / max(np.dot(direction, direction), 1e-9), 0, 1)
    return bool(np.hypot(*(np.asarray(start) + along * direction - point)) < 2 * DOT_SPACING)
