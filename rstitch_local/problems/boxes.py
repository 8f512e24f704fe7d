r"""Search for `\boxed{...}` in a text, in time linear in its length and without recursion.

String processing only. Independent of what the content of a box means.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import pairwise
from typing import NamedTuple

_NAME = r"(?:\\(?:f(?:rame)?|b)?[bB]ox(?:ed)?|(?<![A-Za-z\\])boxed)"
_BOX = re.compile(_NAME + r"\s*(?:\[[^\]\n]{0,40}\]\s*)?\{")
_BARE = re.compile(_NAME + r"[ \t]*([-+]?[(\[]?\.?\d[^\s{}$\\]*|[A-Za-z](?=\s*(?:[$.,;)\]\\]|\Z|\n)))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_CONTENT = re.compile(r"\S")
# Allowed between two boxes that form one answer: `$\boxed{3}$ and $\boxed{5}$`.
_BETWEEN = re.compile(
    rf"(?:\\text\s*\{{\s*(?:and|or)\s*\}}|\\[;,\s)(]|\\q?quad|and|or|{_NAME}(?=\s*\{{)|[\s$,;&{{}}])*"
)
_MOST_BETWEEN = 80
# A box that only shows where the answer will stand.
_PLACEHOLDER = re.compile(
    r"(?:\\text\s*\{)?\s*(?:\.{2,}|…|\\[lc]?dots|\?+|_+|(?:(?:your|the|final|correct)\s+)*(?:answer|result)(?:\s+here)?)\s*\}?",
    re.IGNORECASE,
)
_LONGEST_PLACEHOLDER = 40
_END_OF_MATH = re.compile(r"\$|\\[)\]]|\n|\Z")


class Box(NamedTuple):
    """Positions in the text: `[start, end)` with the command, `[left, right)` inside the braces."""

    start: int
    left: int
    right: int

    @property
    def end(self) -> int:
        """The position after the closing brace."""
        return self.right + 1


def innermost_boxes(text: str) -> list[Box]:
    r"""Return the boxes with content that contain no other such box, in the order of the text.

    `\fbox`, `\framebox` and `\bbox` are boxes as well. Escaped braces (`\{`) do not count; boxes that are never closed,
    and boxes with a placeholder such as `...`, are left out.
    """
    filled = [box for box in _closed_boxes(text) if _is_filled(text, box)]
    return [box for box, after in pairwise([*filled, None]) if box and not (after and after.start < box.end)]


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last closed `\boxed{}`, else of the last `\boxed 7`, or None.

    Consecutive boxes at the end of the text (`\boxed{3}` and `\boxed{5}`) are one answer, "3, 5", without
    duplicates. Of nested boxes the innermost counts.
    """
    span = last_box_span(text)
    return None if span is None else span[2]


def last_box_span(text: str) -> tuple[int, int, str] | None:
    """Return (start, end, content) of what `last_boxed` finds."""
    if "box" not in text and "Box" not in text:
        return None
    boxes = innermost_boxes(text)
    if not boxes:
        bare = _last_match(_BARE, text)
        return None if bare is None else (bare.start(), bare.end(), bare[1].rstrip(".,;"))
    first = len(boxes) - 1
    while first > 0 and _are_one_answer(text, boxes[first - 1], boxes[first]):
        first -= 1
    contents = dict.fromkeys(text[box.left : box.right].strip() for box in boxes[first:])
    return boxes[first].start, boxes[-1].end, ", ".join(contents)


def unclosed_box(text: str) -> str | None:
    r"""Return what follows a last box that is never closed, up to the end of its formula or line; else None.

    Models forget the brace: `$\boxed{\frac{1}{2}$`.
    """
    opening = _last_match(_BOX, text)
    if opening is None or opening.start() in {box.start for box in _closed_boxes(text)}:
        return None
    end = _END_OF_MATH.search(text, opening.end())
    assert end is not None
    return text[opening.end() : end.start()].strip() or None


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = deque(pattern.finditer(text), maxlen=1)
    return last[0] if last else None


def _closed_boxes(text: str) -> list[Box]:
    """Return the boxes whose closing brace exists, by position."""
    starts = {match.end() - 1: match.start() for match in _BOX.finditer(text)}
    if not starts:
        return []
    closed: list[Box] = []
    open_at: list[int] = []
    # Braces before the first box cannot close it.
    for brace in _BRACE.finditer(text, min(starts)):
        if brace[0] == "{":
            open_at.append(brace.start())
        elif brace[0] == "}" and open_at:
            opening = open_at.pop()
            if opening in starts:
                closed.append(Box(starts[opening], opening + 1, brace.start()))
    return sorted(closed)


def _is_filled(text: str, box: Box) -> bool:
    if _CONTENT.search(text, box.left, box.right) is None:
        return False
    is_short = box.right - box.left <= _LONGEST_PLACEHOLDER
    return not (is_short and _PLACEHOLDER.fullmatch(text, box.left, box.right))


def _are_one_answer(text: str, before: Box, after: Box) -> bool:
    return after.start - before.end <= _MOST_BETWEEN and bool(_BETWEEN.fullmatch(text, before.end, after.start))
