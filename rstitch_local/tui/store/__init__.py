"""Chats in one SQLite database."""
