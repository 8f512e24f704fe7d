"""The Textual chat: screens and widgets over an engine in one thread and chats in one database."""
