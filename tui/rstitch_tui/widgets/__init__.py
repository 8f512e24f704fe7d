"""The widgets of the chat, one a file: they show what they are given and say what was done to them."""
