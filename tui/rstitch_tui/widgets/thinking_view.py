"""The thinking of an answer, folded into one line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from rstitch_tui.widgets.plain_text import PlainText


class ThinkingView(Vertical):
    """A line about the thinking; unfolded, the text below it."""

    DEFAULT_CSS = """
    ThinkingView {
        height: auto; display: none;
        &.-shown { display: block; }
        & > .thinking-summary { color: $text-muted; height: 1; }
        & > PlainText { color: $text-muted; padding-left: 2; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._summary = Static(classes="thinking-summary", markup=False)
        self._text: PlainText | None = None

    def compose(self) -> ComposeResult:
        yield self._summary

    async def show(self, text: str, *, tokens: int, seconds: float, unfolded: bool) -> None:
        """Show the thinking; an empty text hides the widget.

        Args:
            text: the thinking.
            tokens: number of its tokens; 0 if unknown.
            seconds: time of its evaluations.
            unfolded: whether to show the text.
        """
        self.set_class(bool(text), "-shown")
        if text:
            length = f"{tokens:,} tokens, {seconds:.1f} s" if tokens else f"{len(text):,} characters"
            self._summary.update(Content(f"{'▾' if unfolded else '▸'} Thought: {length}"))
        if unfolded and text:
            await self._unfold(text)
        elif self._text is not None:
            old, self._text = self._text, None
            await old.remove()

    async def _unfold(self, text: str) -> None:
        view = self._text
        if view is None:
            view = self._text = PlainText()
            # The message may have been removed while it was drawn.
            if self.is_attached:
                await self.mount(view)
        view.set_text(text)
