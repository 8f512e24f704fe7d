"""What commands, keys and the command palette do to the chat, one function per action."""
