"""Chats in one SQLite database."""

from rstitch_tui.store.records import Chat, ChatRow, Message, Snippet
from rstitch_tui.store.store import Store

__all__ = ["Chat", "ChatRow", "Message", "Snippet", "Store"]
