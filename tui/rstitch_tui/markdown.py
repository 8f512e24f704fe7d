"""How models' Markdown is read: as CommonMark with tables, but mathematics is left alone and line ends are kept.

Knows markdown-it's rules, and what drawing a text costs; nothing of widgets.
"""

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
    """About how many widgets a text is drawn with, those inside others counting more; 1 to 2 ms each.

    Read off its lines, for the text is not parsed yet where this is asked: it may be off by a half.
    """
    found = 0.0
    code = False
    for line in text.splitlines():
        begin = line.lstrip()
        if begin.startswith(("```", "~~~")):
            code = not code
        elif code:
            found += 0.4
        elif item := _ITEM.match(line):
            found += 4 * (1 + len(item[1].expandtabs(4)) // 2)
        elif quotes := _QUOTES.match(line):
            found += quotes[0].count(">") ** 2
        else:
            found += (line.count("|") or 0.5) + begin.startswith("#")
        # Each may begin a link, and is looked at together with all that follow.
        found += line.count("[") / 4
    return round(found)


def parser() -> MarkdownIt:
    """The parser of answers: what models write is prose, code, tables and TeX, one line a line."""
    found = MarkdownIt("gfm-like", {"html": False, "linkify": False})
    found.inline.ruler.before("escape", "maths", _maths)
    found.inline.ruler.before("emphasis", "times", _times)
    found.core.ruler.push("line_ends", _line_ends)
    found.core.ruler.push("entities", _entities)
    return found


def _maths(state: StateInline, silent: bool) -> bool:
    r"""TeX between \( \), \[ \] or $$ as code, so that its underscores, asterisks and backslashes stay."""
    opening = state.src[state.pos : state.pos + 2]
    closing = _MATHS.get(opening)
    if closing is None:
        return False
    begin = state.pos + 2
    end = state.src.find(closing, begin, min(state.posMax, begin + _LONGEST_MATHS))
    if end < 0 or not state.src[begin:end].strip():
        return False
    if not silent:
        token = state.push("code_inline", "code", 0)
        token.markup = "`"
        token.content = " ".join(state.src[begin:end].split())
    state.pos = end + 2
    return True


def _times(state: StateInline, silent: bool) -> bool:
    """An asterisk between two figures or brackets is a sign of multiplication, not the beginning of emphasis."""
    place = state.pos
    if state.src[place] != "*" or not 0 < place < state.posMax - 1:
        return False
    before, after = state.src[place - 1], state.src[place + 1]
    if not ((before.isdigit() or before == ")") and (after.isdigit() or after == "(")):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


def _entities(state: StateCore) -> None:
    """`&#x202e;` is the character it names only now: those that command a terminal are taken out once more."""
    for block in state.tokens:
        for token in (block, *(block.children or ())):
            token.content = safe_text(token.content)


def _line_ends(state: StateCore) -> None:
    """A line end a model wrote is one: arithmetic, addresses and verse are written line by line."""
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "softbreak":
                token.type, token.tag = "hardbreak", "br"
