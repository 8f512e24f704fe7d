"""The text of a message, drawn as Markdown, as plain text or token by token."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import Vertical
from textual.widget import Widget

from rstitch_local.decoding.step import Step
from rstitch_tui.markdown.cost import is_fast_markdown
from rstitch_tui.widgets.answer_markdown import AnswerMarkdown
from rstitch_tui.widgets.plain_text import PlainText
from rstitch_tui.widgets.token_view import TokenView


class MessageBody(Vertical):
    """Text that may grow; only its end is drawn then."""

    DEFAULT_CSS = """
    MessageBody { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._text: AnswerMarkdown | PlainText | None = None
        self._tokens: TokenView | None = None

    @property
    def shows_tokens(self) -> bool:
        """Whether the text is drawn token by token."""
        return self._tokens is not None

    async def clear(self) -> None:
        """Remove the text."""
        old = list(self.children)
        self._text = self._tokens = None
        await self.remove_children(old)

    async def show_text(self, text: str, *, formulas_as_source: bool) -> None:
        """Draw the text as Markdown, or as plain text if that would take too long."""
        if self._tokens is not None:
            await self.clear()
        if is_fast_markdown(text):
            await self._show_markdown(text, formulas_as_source)
        else:
            await self.show_plain_text(text)

    async def show_tokens(self, prefix: str, steps: Sequence[Step], *, tau: float | None, colored: bool) -> None:
        """Draw the tokens below the prefix, which no model generated."""
        tokens = self._tokens
        if tokens is None:
            await self.clear()
            if prefix:
                await self.show_plain_text(prefix)
            self._tokens = tokens = TokenView()
            tokens.colored = colored
            await self._put(tokens)
        tokens.tau = tau
        drawn = len(tokens.steps)
        if drawn <= len(steps) and (not drawn or steps[drawn - 1] == tokens.steps[-1]):
            tokens.extend(steps[drawn:])
        else:
            tokens.show(steps)

    async def show_plain_text(self, text: str) -> None:
        """Draw the text literally."""
        body = self._text
        if not isinstance(body, PlainText):
            await self.clear()
            body = self._text = PlainText()
            await self._put(body)
        body.set_text(text)

    async def _show_markdown(self, text: str, formulas_as_source: bool) -> None:
        body = self._text
        if not isinstance(body, AnswerMarkdown) or body.formulas_as_source != formulas_as_source:
            await self.clear()
            body = self._text = AnswerMarkdown(formulas_as_source=formulas_as_source)
            await self._put(body)
        if body.is_attached:
            await body.set_text(text)

    async def _put(self, widget: Widget) -> None:
        # The message may have been removed while it was drawn.
        if self.is_attached:
            await self.mount(widget)
