"""The SQLite database of all chats."""

from rstitch_tui.store.records import Chat, ChatRow, Message, Snippet
from rstitch_tui.store.store import Store

__all__ = ["Chat", "ChatRow", "Message", "Snippet", "Store"]
