"""Blocks of lines that are put beside and above each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

Alignment = Literal["l", "c", "r"]


@dataclass(frozen=True)
class Box:
    """Lines of equal width.

    Attributes:
        lines: the text.
        width: their width in cells.
        baseline: index of the line that continues the text to the left and right.
    """

    lines: Sequence[str]
    width: int
    baseline: int = 0

    @property
    def height(self) -> int:
        """Number of lines."""
        return len(self.lines)


def text_box(text: str) -> Box:
    """Return one line."""
    return Box([text], cell_len(text))


def beside(boxes: Sequence[Box]) -> Box:
    """Put boxes side by side, baseline at baseline."""
    above = max((box.baseline for box in boxes), default=0)
    below = max((box.height - box.baseline for box in boxes), default=1)
    columns = [
        [" " * box.width] * (above - box.baseline)
        + list(box.lines)
        + [" " * box.width] * (below - box.height + box.baseline)
        for box in boxes
    ]
    return Box(["".join(cells) for cells in zip(*columns, strict=True)] or [""], sum(box.width for box in boxes), above)


def stacked(boxes: Sequence[Box], baseline_of: int, alignment: Alignment = "c") -> Box:
    """Put boxes above each other; the baseline is that of the box with the index `baseline_of`."""
    width = max(box.width for box in boxes)
    lines = [line for box in boxes for line in padded(box, width, alignment).lines]
    return Box(lines, width, sum(box.height for box in boxes[:baseline_of]) + boxes[baseline_of].baseline)


def padded(box: Box, width: int, alignment: Alignment = "c") -> Box:
    """Widen a box."""
    missing = width - box.width
    left = {"l": 0, "c": missing // 2, "r": missing}[alignment]
    return Box([" " * left + line + " " * (missing - left) for line in box.lines], width, box.baseline)


def heightened(box: Box, above: int, below: int) -> Box:
    """Add empty lines."""
    empty = " " * box.width
    return Box([empty] * above + list(box.lines) + [empty] * below, box.width, box.baseline + above)


# The first, middle and last pieces of tall brackets, and what is between them.
_PIECES = {
    "(": "⎛⎜⎝⎜", ")": "⎞⎟⎠⎟", "[": "⎡⎢⎣⎢", "]": "⎤⎥⎦⎥", "{": "⎧⎨⎩⎪", "}": "⎫⎬⎭⎪", "⌊": "⎢⎢⎣⎢", "⌋": "⎥⎥⎦⎥",
    "⌈": "⎡⎢⎢⎢", "⌉": "⎤⎥⎥⎥", "|": "││││", "‖": "‖‖‖‖",
}  # fmt: skip


def bracketed(left: str, box: Box, right: str) -> Box:
    """Put a box between brackets of its height; "" for none."""
    if box.height > 1 and ("{" in left or "}" in right):
        # The point of a brace is at the baseline.
        below = box.height - 1 - box.baseline
        box = heightened(box, max(0, below - box.baseline), max(0, box.baseline - below))
    return beside([_bracket(left, box), box, _bracket(right, box)])


def _bracket(bracket: str, box: Box) -> Box:
    pieces = _PIECES.get(bracket)
    if box.height == 1 or pieces is None:
        return text_box(bracket)
    lines = [pieces[3]] * box.height
    lines[box.baseline], lines[0], lines[-1] = pieces[1], pieces[0], pieces[2]
    return Box(lines, 1, box.baseline)
