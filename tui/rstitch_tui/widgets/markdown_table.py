"""Tables of Markdown with aligned columns (`:---:`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.content import Content
from textual.css.types import TextAlign

# Textual documents `Markdown.BLOCKS`, by which blocks are replaced, but not the modules of the blocks.
from textual.widgets._markdown import (
    MarkdownBlock,
    MarkdownTable,
    MarkdownTableCellContents,
    MarkdownTableContent,
    MarkdownTH,
)

_ALIGNMENTS: dict[str, TextAlign] = {"text-align:center": "center", "text-align:right": "right"}


class AnswerTable(MarkdownTable):
    """A table; when it grows, only its last rows are drawn again."""

    def compose(self) -> ComposeResult:
        alignments = [_alignment(block) for block in _headers(self)]
        self._headers, self._rows = self._get_headers_and_rows()
        yield AlignedCells(self._headers, self._rows, alignments)

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, AnswerTable) and self._rows:
            headers, rows = block._get_headers_and_rows()
            if headers == self._headers and rows[: len(self._rows) - 1] == self._rows[:-1]:
                first, self._rows = len(self._rows) - 1, rows
                await self.query_one(AlignedCells).replace_rows(first, rows[first:])
                return
        # Not Textual's table: it fails if a row becomes something else, as when "-" becomes "- item".
        await MarkdownBlock._update_from_block(self, block)


class AlignedCells(MarkdownTableContent):
    """The cells of a table.

    Args:
        headers: the first row.
        rows: the other rows.
        alignments: the alignment of each column.
    """

    DEFAULT_CSS = """
    AlignedCells > .header { text-style: bold; }
    """

    def __init__(self, headers: list[Content], rows: list[list[Content]], alignments: Sequence[TextAlign]) -> None:
        super().__init__(headers, rows)
        self._alignments = alignments

    def compose(self) -> ComposeResult:
        yield from self._cells(self.headers, "header")
        for number, row in enumerate(self.rows):
            yield from self._cells(row, f"cell row{number}")

    async def replace_rows(self, first: int, rows: Sequence[Sequence[Content]]) -> None:
        """Replace the row `first` and append the others."""
        await self.query_children(f".row{first}").remove()
        await self.mount_all(cell for i, row in enumerate(rows, first) for cell in self._cells(row, f"cell row{i}"))

    def _cells(self, row: Sequence[Content], classes: str) -> Iterator[MarkdownTableCellContents]:
        for content, alignment in zip(row, self._alignments, strict=False):
            cell = MarkdownTableCellContents(content, classes=classes)
            cell.styles.text_align = alignment
            yield cell


def _headers(block: MarkdownBlock) -> Iterator[MarkdownBlock]:
    for child in block._blocks:
        if isinstance(child, MarkdownTH):
            yield child
        yield from _headers(child)


def _alignment(header: MarkdownBlock) -> TextAlign:
    return _ALIGNMENTS.get(str(header._token.attrs.get("style", "")), "left")
