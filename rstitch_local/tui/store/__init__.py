"""Chats in one SQLite database."""

from rstitch_local.tui.store.records import Chat, ChatRow, Message, Snippet
from rstitch_local.tui.store.store import Store

__all__ = ["Chat", "ChatRow", "Message", "Snippet", "Store"]
