"""The widgets of the chat, one per file. They do not import screens or the app."""
