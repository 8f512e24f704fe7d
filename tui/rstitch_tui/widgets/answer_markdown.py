"""An answer drawn as Markdown, which may grow; independent of chats."""

from __future__ import annotations

from markdown_it.token import Token
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from rstitch_tui.markdown.formulas import FORMULA_BLOCK
from rstitch_tui.markdown.growing import GrowingMarkdown
from rstitch_tui.markdown.parser import AnswerParser
from rstitch_tui.widgets.formula_block import AnswerParagraph, FormulaBlock
from rstitch_tui.widgets.markdown_list import AnswerBulletList, AnswerOrderedList
from rstitch_tui.widgets.markdown_table import AnswerTable


class AnswerMarkdown(Markdown):
    """Markdown of which only the blocks that changed are drawn again.

    Textual's `Markdown.append` draws wrong text after `update`: in version 8.2 it takes the last line of the last
    block for the whole block.

    Args:
        formulas_as_source: whether formulas are shown as their source.
    """

    BLOCKS = {  # noqa: RUF012  declared as in Textual
        **Markdown.BLOCKS,
        "paragraph_open": AnswerParagraph,
        "bullet_list_open": AnswerBulletList,
        "ordered_list_open": AnswerOrderedList,
        "table_open": AnswerTable,
    }

    DEFAULT_CSS = """
    AnswerMarkdown {
        height: auto; padding: 0; margin: 0; background: transparent;
        & > .-last { margin-bottom: 0; }
    }
    """

    def __init__(self, *, formulas_as_source: bool = False) -> None:
        super().__init__(open_links=False)
        self.formulas_as_source = formulas_as_source
        self._growing = GrowingMarkdown(AnswerParser(formulas_as_source=formulas_as_source).parse)

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        return FormulaBlock(self, token) if token.type == FORMULA_BLOCK else None

    async def set_text(self, text: str) -> None:
        """Replace the text; if it only grew, only its last blocks are drawn."""
        kept, new = self._growing.set_text(text)
        old = [child for child in self.children[kept:] if isinstance(child, MarkdownBlock)]
        blocks = [widget for block in new for widget in self._parse_markdown(block.tokens)]
        with self.app.batch_update():
            if len(old) == 1 and blocks:
                await old[0]._update_from_block(blocks.pop(0))
            else:
                await self.remove_children(old)
            await self.mount_all(blocks)
            # With :last-child every block would be styled again whenever one is added.
            for block in self.children[max(0, kept - 1) :]:
                block.set_class(block is self.children[-1], "-last")
