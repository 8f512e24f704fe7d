"""A screenshot reduced to what can be read of it: its characters, and their styles line by line.

Textual names styles by numbers that differ from run to run, and its pictures are large. Nothing of that is kept.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

CELL = 12.2
"""Width of a character in Textual's pictures."""
_RULE = re.compile(r"\.terminal-\d+-(r\d+) \{([^}]*)\}")
_CLIP = re.compile(r"line-(\d+)\)")
_LINE = 24.4
_SVG = "{http://www.w3.org/2000/svg}"


def reduced(svg: str, width: int, height: int) -> str:
    """The characters of a picture, and below them what each line's look is from which column on.

    Args:
        svg: as `App.export_screenshot` gives it.
        width: columns; height: rows.
    """
    rules = {name: _look(rule) for name, rule in _RULE.findall(svg)}
    text = [[" "] * width for _ in range(height)]
    front = [[""] * width for _ in range(height)]
    back = [[""] * width for _ in range(height)]
    for part in ElementTree.fromstring(svg).iter():
        if part.tag == f"{_SVG}rect" and part.get("shape-rendering") == "crispEdges":
            row, begin = round(float(part.attrib["y"]) / _LINE), round(float(part.attrib["x"]) / CELL)
            for column in range(begin, min(width, begin + round(float(part.attrib["width"]) / CELL))):
                back[row][column] = part.attrib["fill"]
        elif part.tag == f"{_SVG}text" and (clip := _CLIP.search(part.get("clip-path", ""))):
            row, column = int(clip[1]), round(float(part.attrib["x"]) / CELL)
            style = rules[part.attrib["class"].rpartition("-")[2]]
            for character in (part.text or "").replace("\xa0", " ").rstrip("\n"):
                text[row][column], front[row][column] = character, style
                column += 1
    lines = ["".join(row).rstrip() for row in text]
    looks = [_looks(*rows) for rows in zip(text, front, back, strict=True)]
    return "\n".join([*lines, "", *(f"{number:2} {look}" for number, look in enumerate(looks)), ""])


def _looks(text: list[str], front: list[str], back: list[str]) -> str:
    """Where each look of a line begins; a space without a line under it goes with what is before it."""
    cells: list[tuple[str, str]] = []
    for character, look, ground in zip(text, front, back, strict=True):
        unseen = character == " " and "underline" not in look
        same = bool(cells) and cells[-1][1] == ground and "underline" not in cells[-1][0]
        cells.append(((cells[-1][0] if same else "") if unseen else look, ground))
    runs, column = [], 0
    for (look, ground), cells_alike in groupby(cells):
        runs.append(f"{column} {look} on {ground}".replace("  ", " "))
        column += len(list(cells_alike))
    return ", ".join(runs)


def _look(rule: str) -> str:
    """A CSS rule in a few words: colour, bold, underline."""
    parts = dict(part.split(":", 1) for part in rule.replace(" ", "").split(";") if part)
    return " ".join(value for name, value in parts.items() if value not in ("normal", "none") or name == "fill")
