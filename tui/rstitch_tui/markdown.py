"""The Markdown parser for answers: CommonMark with tables; mathematics and line ends are preserved."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline

from rstitch_local.sanitize import safe_text

_MATHS = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}
_LONGEST_MATHS = 2000


_ITEM = re.compile(r"([ \t]*)(?:[-*+]|\d{1,9}[.)])[ \t]")
_QUOTES = re.compile(r"[ \t]*>[> \t]*")


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


def parser() -> MarkdownIt:
    """Return a parser for the text of models: prose, code, tables and TeX."""
    markdown = MarkdownIt("gfm-like", {"html": False, "linkify": False})
    markdown.inline.ruler.before("escape", "maths", _maths)
    markdown.inline.ruler.before("emphasis", "times", _times)
    markdown.core.ruler.push("line_ends", _line_ends)
    markdown.core.ruler.push("entities", _entities)
    return markdown


def _maths(state: StateInline, silent: bool) -> bool:
    r"""Treat TeX between \( \), \[ \] or $$ as code, which preserves underscores, asterisks and backslashes."""
    opening = state.src[state.pos : state.pos + 2]
    closing = _MATHS.get(opening)
    if closing is None:
        return False
    start = state.pos + 2
    end = state.src.find(closing, start, min(state.posMax, start + _LONGEST_MATHS))
    if end < 0 or not state.src[start:end].strip():
        return False
    if not silent:
        token = state.push("code_inline", "code", 0)
        token.markup = "`"
        token.content = " ".join(state.src[start:end].split())
    state.pos = end + 2
    return True


def _times(state: StateInline, silent: bool) -> bool:
    """Treat an asterisk between digits or brackets as a multiplication sign, not as emphasis."""
    position = state.pos
    if state.src[position] != "*" or not 0 < position < state.posMax - 1:
        return False
    before, after = state.src[position - 1], state.src[position + 1]
    if not ((before.isdigit() or before == ")") and (after.isdigit() or after == "(")):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


def _entities(state: StateCore) -> None:
    """Remove control characters again: entities such as `&#x202e;` are decoded by the parser."""
    for block in state.tokens:
        for token in (block, *(block.children or ())):
            token.content = safe_text(token.content)


def _line_ends(state: StateCore) -> None:
    """Keep line ends: models write arithmetic, addresses and verse line by line."""
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "softbreak":
                token.type, token.tag = "hardbreak", "br"
