"""The screens of the chat: each puts widgets together for one purpose."""
