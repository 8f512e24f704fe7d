"""Reduces a screenshot to its characters and their styles, line by line.

Textual's SVG is large and numbers its styles differently in every run.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

CELL = 12.2
"""Width of a character in Textual's SVG."""
_RULE = re.compile(r"\.terminal-\d+-(r\d+) \{([^}]*)\}")
_CLIP = re.compile(r"line-(\d+)\)")
_LINE = 24.4
_SVG = "{http://www.w3.org/2000/svg}"


def screenshot_text(svg: str, width: int, height: int) -> str:
    """Return the characters of a screenshot, and below them the styles of each line by column.

    Args:
        svg: from `App.export_screenshot`.
        width: columns of the terminal.
        height: rows of the terminal.
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
    """Return the columns where the styles of a line change; spaces without underline continue the style before."""
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
    """Return a CSS rule in a few words: color, bold, underline."""
    parts = dict(part.split(":", 1) for part in rule.replace(" ", "").split(";") if part)
    return " ".join(value for name, value in parts.items() if value not in ("normal", "none") or name == "fill")
