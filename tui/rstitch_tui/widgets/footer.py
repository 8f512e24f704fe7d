"""The footer of the chat: Textual's, of which the keys that are gone let go.

Knows how Textual keeps who follows a reactive; nothing of the keys.
"""

from __future__ import annotations

from typing import Any

from textual.widgets import Footer


class KeyFooter(Footer):
    """Textual's footer for a screen that stays.

    Every change of focus makes its keys anew. Each of them follows the footer's `compact`, and Textual 8.2 forgets
    those that are gone only when that changes, which it never does here: two or three widgets a turn would stay.
    """

    async def recompose(self) -> None:
        """Make the keys anew, and forget those before."""
        await super().recompose()
        followers: list[tuple[Any, Any]] = getattr(self, "__watchers", {}).get("compact", [])
        followers[:] = [(key, call) for key, call in followers if key.is_attached]
