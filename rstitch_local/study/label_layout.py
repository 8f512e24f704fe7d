"""Where the labels of points go, so that none covers another one or a point.

Pure geometry in pixels; knows nothing of figures or of matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DOT = 4
"""Lines are given as dots so many pixels apart."""
# Where a label may go, as steps from its point to the right and upwards, the best first.
_WAYS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1.5), (0, -1.5), (1.5, 0), (-1.5, 0))
_REACHES = (8, 14, 24, 38, 56, 80)
_FAR = 24
_POINT = 5
_ROUNDS = 4
Spot = tuple[float, float]


class Box(NamedTuple):
    """A rectangle with its sides along the axes."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.right - self.left) * (self.top - self.bottom)

    def shared(self, other: Box) -> float:
        """How much of it another one covers, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, spot: Spot) -> Spot:
        """Its point that is nearest to a spot."""
        return min(max(spot[0], self.left), self.right), min(max(spot[1], self.bottom), self.top)


class Place(NamedTuple):
    """Where a label lies, with some room around it, and whether it is so far that it needs a line to its point."""

    box: Box
    far: bool


def place_labels(
    spots: Sequence[Spot], sizes: Sequence[tuple[float, float]], frame: Box, dots: NDArray[np.float64], scale: float
) -> list[Place]:
    """A place for the label of each point.

    All labels look for the place around their point where they cover least and are near, one after the other, and a
    few times over, so that the first ones make room for the last.

    Args:
        spots: the points.
        sizes: width and height of each label.
        frame: what labels should stay in.
        dots: of the lines that labels should rather not cover, shape (dots, 2).
        scale: pixels a typographic point.
    """
    point = _POINT * scale
    points = [Box(x - point, y - point, x + point, y + point) for x, y in spots]
    places: dict[int, Place] = {}
    for _ in range(_ROUNDS):
        before = dict(places)
        for own, (spot, size) in enumerate(zip(spots, sizes, strict=True)):
            taken = points + [place.box for other, place in places.items() if other != own]
            others = [other for place, other in enumerate(spots) if place != own]
            places[own] = _place(spot, size, taken, others, frame, dots, scale)
        if places == before:
            break
    return [places[own] for own in range(len(spots))]


def _place(
    spot: Spot,
    size: tuple[float, float],
    taken: Sequence[Box],
    others: Sequence[Spot],
    frame: Box,
    dots: NDArray[np.float64],
    scale: float,
) -> Place:
    tried: list[tuple[float, int, Place]] = []
    for reach in _REACHES:
        for right, up in _WAYS:
            box = _box(spot, size, right * reach * scale, up * reach * scale * 0.7)
            covered = sum(box.shared(other) for other in taken) + box.area - box.shared(frame)
            inside = (dots >= (box.left, box.bottom)).all(axis=1) & (dots <= (box.right, box.top)).all(axis=1)
            crossed = float(inside.sum()) * DOT * DOT
            # The line of a far label must not seem to belong to a point that it passes.
            passed = reach >= _FAR and any(_passes(spot, box.nearest(spot), other) for other in others)
            # Another label or a point under it is worst; a bar or a line is bearable, and so is some way to go.
            cost = 4.0 * (covered > 1) + (10 * covered + 3 * crossed) / box.area + 2 * passed + 0.04 * reach
            tried.append((cost, len(tried), Place(box, reach >= _FAR)))
    return min(tried)[2]


def _box(spot: Spot, size: tuple[float, float], right: float, up: float) -> Box:
    """Where a label lies that goes that way from its point, with some room around it."""
    width, height = size
    # The side of the label that looks at the point stands still; where it goes up or down only, its middle does.
    left = spot[0] + right - (width if right < 0 else width / 2 if right == 0 else 0)
    bottom = spot[1] + up - (height if up < 0 else height / 2 if up == 0 else 0)
    return Box(left - 3, bottom - 1, left + width + 3, bottom + height + 1)


def _passes(start: Spot, end: Spot, spot: Spot) -> bool:
    """Whether the line from start to end comes within a few pixels of a spot."""
    way = np.subtract(end, start)
    along = np.clip(np.dot(np.subtract(spot, start), way) / max(np.dot(way, way), 1e-9), 0, 1)
    return bool(np.hypot(*(np.asarray(start) + along * way - spot)) < 2 * DOT)
