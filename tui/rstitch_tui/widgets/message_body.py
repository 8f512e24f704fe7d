"""The text of a message, drawn as Markdown, as plain text or token by token."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Markdown

from rstitch_local.decoding.step import Step
from rstitch_tui.markdown import cost, parser
from rstitch_tui.widgets.plain_text import PlainText
from rstitch_tui.widgets.token_view import TokenView

_MAX_LINE_LENGTH = 2000
_MAX_COST = 200


def is_fast_markdown(text: str) -> bool:
    """Return whether Markdown of this text can be drawn without blocking the user's typing."""
    return cost(text) <= _MAX_COST and all(len(line) <= _MAX_LINE_LENGTH for line in text.splitlines())


class MessageBody(Vertical):
    """Text that may grow; only its end is drawn then."""

    DEFAULT_CSS = """
    MessageBody {
        height: auto;
        & > Markdown { height: auto; padding: 0; margin: 0; background: transparent; }
        & > Markdown > .-last { margin-bottom: 0; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._text: Markdown | PlainText | None = None
        self._tokens: TokenView | None = None
        self._drawn = ""

    @property
    def shows_tokens(self) -> bool:
        """Whether the text is drawn token by token."""
        return self._tokens is not None

    async def clear(self) -> None:
        """Remove the text."""
        old = list(self.children)
        self._text = self._tokens = None
        self._drawn = ""
        await self.remove_children(old)

    async def show_text(self, text: str, *, markdown: bool) -> None:
        """Draw the text, as Markdown or as plain text."""
        if markdown:
            await self._show_markdown(text)
        else:
            await self._show_plain(text)

    async def show_tokens(self, prefix: str, steps: Sequence[Step], *, tau: float | None, colored: bool) -> None:
        """Draw the tokens below the prefix, which no model generated."""
        await self.clear()
        if prefix:
            await self._show_plain(prefix)
        self._tokens = tokens = TokenView()
        tokens.tau, tokens.colored = tau, colored
        await self._put(tokens)
        tokens.show(steps)

    def extend_tokens(self, steps: Sequence[Step]) -> None:
        """Append tokens to those of `show_tokens`."""
        if self._tokens is not None:
            self._tokens.extend(steps)

    async def _show_plain(self, text: str) -> None:
        body = self._text
        if not isinstance(body, PlainText):
            await self.clear()
            body = self._text = PlainText()
            await self._put(body)
        body.set_text(text)

    async def _show_markdown(self, text: str) -> None:
        body = self._text
        if not isinstance(body, Markdown):
            await self.clear()
            body = self._text = Markdown(parser_factory=parser, open_links=False)
            await self._put(body)
        if self._drawn and text.startswith(self._drawn):
            if len(text) > len(self._drawn):
                await body.append(text[len(self._drawn) :])
        elif text != self._drawn:
            await body.update(text)
        self._drawn = text
        # With :last-child every block would be styled again whenever one is added.
        for block in body.children:
            block.set_class(block is body.children[-1], "-last")

    async def _put(self, widget: Widget) -> None:
        # The message may have been removed while it was drawn.
        if self.is_attached:
            await self.mount(widget)
