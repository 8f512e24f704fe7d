"""Damaged and hostile GGUF files for `scripts/fuzz_gguf.py`."""
