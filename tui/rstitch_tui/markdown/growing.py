"""The top-level blocks of a text that grows at its end: only those that may change are parsed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markdown_it.token import Token

ITEM_SIGNATURE = "signature"
"""Key in the `meta` of the first token of an item of a top-level list: equal for items that look the same."""


@dataclass(frozen=True)
class Block:
    """A top-level block.

    Attributes:
        tokens: its tokens.
        signature: equal for blocks that look the same.
        line: index in the parsed text of its first line.
    """

    tokens: Sequence[Token]
    signature: str
    line: int


class GrowingMarkdown:
    """Parses a text block by block.

    No block depends on one before it, because `parse` knows no reference definitions, and a block can no longer change
    once another one has begun with a complete line. However the text is cut into pieces, the blocks are those of the
    whole text.

    Args:
        parse: returns the tokens of a text.
    """

    def __init__(self, parse: Callable[[str], Sequence[Token]]) -> None:
        self._parse = parse
        self._text = ""
        self._signatures: list[str] = []
        # The first block that may still change, and the index in the text of its first character.
        self._open_block = self._open_start = 0

    def set_text(self, text: str) -> tuple[int, list[Block]]:
        """Replace the text; if it only grew, only its end is parsed.

        Returns:
            The number of blocks that have not changed, and the blocks after them.
        """
        if not text.startswith(self._text):
            self._open_block = self._open_start = 0
        self._text = text
        end = text[self._open_start :]
        blocks = top_level_blocks(self._parse(end))
        old, new = self._signatures[self._open_block :], [block.signature for block in blocks]
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        kept = self._open_block + same
        self._signatures[kept:] = new[same:]
        self._close_blocks(end, blocks)
        return kept, blocks[same:]

    def _close_blocks(self, end: str, blocks: Sequence[Block]) -> None:
        """Advance to the last block that begins with a complete line."""
        complete_lines = end.count("\n")
        line = max((block.line for block in blocks if block.line < complete_lines), default=0)
        self._open_block += sum(block.line < line for block in blocks)
        self._open_start += sum(len(each) + 1 for each in end.split("\n")[:line])


def top_level_blocks(tokens: Sequence[Token]) -> list[Block]:
    """Split tokens into those of each top-level block."""
    blocks: list[Block] = []
    start = depth = 0
    for index, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            whole = tokens[start : index + 1]
            _sign_items(whole)
            blocks.append(Block(whole, signature(whole), (whole[0].map or [0])[0]))
            start = index + 1
    return blocks


def _sign_items(tokens: Sequence[Token]) -> None:
    """Store the signature of each item of a list in its first token."""
    start = 0
    for index, token in enumerate(tokens):
        if token.type == "list_item_open" and token.level == 1:
            start = index
        elif token.type == "list_item_close" and token.level == 1:
            tokens[start].meta[ITEM_SIGNATURE] = signature(tokens[start : index + 1])


def signature(tokens: Sequence[Token]) -> str:
    """Return a text that is equal for tokens that look the same."""
    return "\n".join(
        f"{each.type} {each.markup!r} {each.info!r} {each.attrs} {each.content!r} {signature(each.children or ())}"
        for each in tokens
    )
