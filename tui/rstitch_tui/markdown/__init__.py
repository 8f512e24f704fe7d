"""Markdown of models: the parser, the blocks of a growing text, and what drawing costs. Independent of widgets."""
