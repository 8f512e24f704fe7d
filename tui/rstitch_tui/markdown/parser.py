"""The Markdown parser for answers: CommonMark with tables; what is not Markdown is preserved.

Models write arithmetic, TeX and code in prose. Rules of CommonMark that would remove their characters are left out:
reference definitions (`[1]: 42`), underlined headings, entities, HTML, and links without an address (`[2](3)`).
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from rstitch_tui.markdown.formulas import add_formula_rules
from rstitch_tui.markdown.literal import add_literal_rules

_ADDRESS = re.compile(r"(?:https?|ftp)://|mailto:|www\.|[./#]|[\w.-]+\.[a-z]{2,}(?:[/?#]|$)", re.IGNORECASE)


class AnswerParser(MarkdownIt):
    """A parser for the text of models: prose, code, tables and formulas.

    Args:
        formulas_as_source: whether formulas are shown as their source.
    """

    def __init__(self, *, formulas_as_source: bool = False) -> None:
        super().__init__("gfm-like", {"html": False, "linkify": False})
        self.disable(["reference", "lheading", "entity"])
        add_literal_rules(self)
        self.core.ruler.push("line_ends", _line_ends)
        add_formula_rules(self, as_source=formulas_as_source)

    def validateLink(self, url: str) -> bool:  # noqa: N802  named as in markdown-it
        """Return whether a link has an address; `[2](3)` is a product."""
        return bool(_ADDRESS.match(url)) and super().validateLink(url)


def _line_ends(state: StateCore) -> None:
    """Keep line ends: models write arithmetic, addresses and verse line by line."""
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "softbreak":
                token.type, token.tag = "hardbreak", "br"
