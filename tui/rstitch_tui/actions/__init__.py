"""The actions of slash commands, keys and the command palette, one function each."""
