"""Fast reasoning on one desktop: a small GGUF model writes, a large one takes over where it is unsure."""

__version__ = "0.1.0"
