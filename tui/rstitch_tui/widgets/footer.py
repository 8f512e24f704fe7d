"""The footer of the chat: Textual's footer without its memory leak."""

from __future__ import annotations

from typing import Any

from textual.widgets import Footer


class KeyFooter(Footer):
    """Textual's footer for a screen that is never closed.

    Every change of focus recreates the key widgets. Each of them watches the footer's `compact`, and Textual 8.2
    removes the watchers of deleted widgets only when `compact` changes, which it never does here: two or three widgets
    per message would stay in memory.
    """

    async def recompose(self) -> None:
        await super().recompose()
        watchers: list[tuple[Any, Any]] = getattr(self, "__watchers", {}).get("compact", [])
        watchers[:] = [(key, callback) for key, callback in watchers if key.is_attached]
