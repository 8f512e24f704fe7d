"""The Textual chat: screens and widgets, a thread that runs the engine, and a database of chats."""
