"""A formula on lines of its own, and paragraphs with formulas; copying gives the source of a formula."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from markdown_it.token import Token
from textual.content import Content
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Markdown

# Textual documents `Markdown.BLOCKS`, by which blocks are replaced, but not the modules of the blocks.
from textual.widgets._markdown import MarkdownBlock, MarkdownParagraph

from rstitch_tui.markdown.formulas import SOURCE
from rstitch_tui.mathematics.formula import formula
from rstitch_tui.widgets.reflowed_text import ReflowedText
from rstitch_tui.widgets.wrapping import WrappedText


class FormulaLines(ReflowedText):
    """The lines of a formula for the available width: Unicode, or its source.

    Args:
        source: the source with its delimiters.
        body: the TeX without them; None to show the source.
        punctuation: what follows the formula.
    """

    def __init__(self, source: str, body: str | None, punctuation: str) -> None:
        self._source = source + punctuation
        self._formula = formula(body, punctuation) if body is not None else None
        self._drawn: tuple[int, Content] | None = None

    def content(self, width: int) -> Content:
        if self._drawn is None or self._drawn[0] != width:
            self._drawn = (width, self._lines(width))
        return self._drawn[1]

    def _lines(self, width: int) -> Content:
        block = self._formula.block(width) if self._formula is not None else None
        if block is None and self._formula is not None:
            block = self._formula.long_lines
        if block is not None:
            return Content(wrapped("\n".join(block), width))
        return Content(wrapped(self._source, width)).stylize(".code_inline")


def wrapped(text: str, width: int) -> str:
    """Return a text in lines of at most `width` cells."""
    rows = WrappedText(width)
    rows.extend(text)
    return "\n".join(row.rstrip("\n") for row in rows.rows)


class FormulaBlock(MarkdownBlock):
    """A formula on lines of its own."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    FormulaBlock { padding-left: 2; }
    Markdown > FormulaBlock { margin: 0 0 1 0; }
    """

    def __init__(self, markdown: Markdown, token: Token) -> None:
        super().__init__(markdown, token)
        self._show(token)

    def _show(self, token: Token) -> None:
        self._token = token
        self.update(FormulaLines(token.content, token.meta["body"], token.info))

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, FormulaBlock):
            self._show(block._token)
        else:
            await super()._update_from_block(block)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:  # noqa: ARG002
        """Return the source, whichever part is selected."""
        return self._token.content + self._token.info, "\n"


class ShownFormula(NamedTuple):
    """A formula in a text: where it is shown, and its source."""

    start: int
    end: int
    source: str


class AnswerParagraph(MarkdownParagraph):
    """A paragraph that may contain formulas."""

    _formulas: Sequence[ShownFormula] = ()

    def build_from_token(self, token: Token) -> None:
        super().build_from_token(token)
        self._formulas = shown_formulas(token.children or (), self._content.plain)

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, AnswerParagraph):
            self._formulas = block._formulas
        await super()._update_from_block(block)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected text with the sources of the formulas in it."""
        text = self._content.plain
        start = 0 if selection.start is None else _index(text, selection.start)
        end = len(text) if selection.end is None else _index(text, selection.end)
        parts: list[str] = []
        for shown in self._formulas:
            if shown.start < end and start < shown.end:
                parts += [text[start : max(start, shown.start)], shown.source]
                start = max(start, shown.end)
        return "".join([*parts, text[start:end]]), "\n"


def shown_formulas(children: Sequence[Token], text: str) -> list[ShownFormula]:
    """Return where the formulas among inline tokens are in the text that shows the tokens."""
    shown: list[ShownFormula] = []
    position = 0
    for child in children:
        if SOURCE in child.meta:
            line = re.sub(r"\s+", " ", child.content)
            start = text.find(line, position)
            if start >= 0:
                position = start + len(line)
                shown.append(ShownFormula(start, position, child.meta[SOURCE]))
        elif child.type in ("text", "code_inline"):
            position += len(re.sub(r"\s+", " ", child.content)) if child.type == "text" else len(child.content)
    return shown


def _index(text: str, offset: Offset) -> int:
    """Return the index of a line and column in a text."""
    lines = text.split("\n")
    return min(sum(len(line) + 1 for line in lines[: offset.y]) + offset.x, len(text))
