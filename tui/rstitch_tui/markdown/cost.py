"""Estimates how long it takes to draw Markdown, without parsing it."""

from __future__ import annotations

import re

_MAX_LINE_LENGTH = 2000
_MAX_COST = 200

_ITEM = re.compile(r"([ \t]*)(?:[-*+]|\d{1,9}[.)])[ \t]")
_QUOTES = re.compile(r"[ \t]*>[> \t]*")


def is_fast_markdown(text: str) -> bool:
    """Return whether Markdown of this text can be drawn without blocking the user's typing."""
    return cost(text) <= _MAX_COST and all(len(line) <= _MAX_LINE_LENGTH for line in text.splitlines())


def cost(text: str) -> int:
    """Estimate the number of widgets that draw a text, nested ones counting more; each takes 1 to 2 ms.

    Counted by lines without parsing; the error is up to 50 %.
    """
    widgets = 0.0
    code = False
    for line in text.splitlines():
        begin = line.lstrip()
        if begin.startswith(("```", "~~~")):
            code = not code
        elif code:
            widgets += 0.4
        elif item := _ITEM.match(line):
            widgets += 4 * (1 + len(item[1].expandtabs(4)) // 2)
        elif quotes := _QUOTES.match(line):
            widgets += quotes[0].count(">") ** 2
        else:
            widgets += (line.count("|") or 0.5) + begin.startswith("#")
        # Each bracket may open a link and is matched against all that follow.
        widgets += line.count("[") / 4
    return round(widgets)
