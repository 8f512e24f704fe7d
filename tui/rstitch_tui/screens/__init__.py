"""The screens and dialogs of the chat, composed of widgets."""
