"""Lists of Markdown: numbers as the model wrote them; when a list grows, only its last items are drawn again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

# Textual documents `Markdown.BLOCKS`, by which blocks are replaced, but not the modules of the blocks.
from textual.widgets._markdown import (
    MarkdownBlock,
    MarkdownBullet,
    MarkdownBulletList,
    MarkdownListItem,
    MarkdownOrderedList,
)

from rstitch_tui.markdown.growing import ITEM_SIGNATURE


class AnswerBulletList(MarkdownBulletList):
    """A list with bullets."""

    def compose(self) -> ComposeResult:
        self._items = _items_of(self)
        yield from _rows(self._items, [item.bullet for item in self._items])

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, AnswerBulletList):
            items = _items_of(block)
            await _update_rows(self, self._items, items, [item.bullet for item in items])
            self._items = items
        else:
            await super()._update_from_block(block)


class AnswerOrderedList(MarkdownOrderedList):
    """A list with numbers."""

    def compose(self) -> ComposeResult:
        self._items = _items_of(self)
        yield from _rows(self._items, _numbers(self._items))

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, AnswerOrderedList):
            items = _items_of(block)
            await _update_rows(self, self._items, items, _numbers(items))
            self._items = items
        else:
            await super()._update_from_block(block)


def _items_of(block: MarkdownBlock) -> list[MarkdownListItem]:
    return [item for item in block._blocks if isinstance(item, MarkdownListItem)]


def _numbers(items: Sequence[MarkdownListItem]) -> list[str]:
    """Return the numbers as written, right-aligned; if all are equal, as in "1. 1. 1.", count from there."""
    numbers = [item.bullet for item in items]
    if len(numbers) > 1 and len(set(numbers)) == 1:
        numbers = [str(int(numbers[0]) + index) for index in range(len(numbers))]
    written = [f"{number}{item._token.markup} " for number, item in zip(numbers, items, strict=True)]
    width = max(map(len, written)) + 1
    return [each.rjust(width) for each in written]


def _rows(items: Sequence[MarkdownListItem], symbols: Sequence[str]) -> Iterator[Horizontal]:
    for item, symbol in zip(items, symbols, strict=True):
        bullet = MarkdownBullet()
        bullet.symbol = symbol
        yield Horizontal(bullet, Vertical(*item._blocks))


async def _update_rows(
    widget: MarkdownBlock, old: Sequence[MarkdownListItem], new: Sequence[MarkdownListItem], symbols: Sequence[str]
) -> None:
    """Replace the rows from the first item that differs."""
    kept = 0
    while kept < min(len(old), len(new)) and _signature(old[kept]) == _signature(new[kept]):
        kept += 1
    rows = list(widget.children)
    for row, symbol in zip(rows[:kept], symbols, strict=False):
        row.query_one(MarkdownBullet).symbol = symbol
    await widget.remove_children(rows[kept:])
    await widget.mount_all(_rows(new[kept:], symbols[kept:]))


def _signature(item: MarkdownListItem) -> str:
    return str(item._token.meta[ITEM_SIGNATURE])
