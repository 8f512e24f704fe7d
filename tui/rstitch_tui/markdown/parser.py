"""The Markdown parser for answers: CommonMark with tables; what is not Markdown is preserved.

Models write arithmetic, TeX and code in prose. Rules of CommonMark that would remove their characters are left out:
reference definitions (`[1]: 42`), underlined headings, entities, HTML, and links without an address (`[2](3)`).
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline

from rstitch_tui.markdown.literal import add_literal_rules

_MATHS = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}
_LONGEST_MATHS = 2000
_ADDRESS = re.compile(r"(?:https?|ftp)://|mailto:|www\.|[./#]|[\w.-]+\.[a-z]{2,}(?:[/?#]|$)", re.IGNORECASE)


class AnswerParser(MarkdownIt):
    """A parser for the text of models: prose, code, tables and TeX."""

    def __init__(self) -> None:
        super().__init__("gfm-like", {"html": False, "linkify": False})
        self.disable(["reference", "lheading", "entity"])
        self.inline.ruler.before("escape", "maths", _maths)
        add_literal_rules(self)
        self.core.ruler.push("line_ends", _line_ends)

    def validateLink(self, url: str) -> bool:  # noqa: N802  named as in markdown-it
        """Return whether a link has an address; `[2](3)` is a product."""
        return bool(_ADDRESS.match(url)) and super().validateLink(url)


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


def _line_ends(state: StateCore) -> None:
    """Keep line ends: models write arithmetic, addresses and verse line by line."""
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "softbreak":
                token.type, token.tag = "hardbreak", "br"
