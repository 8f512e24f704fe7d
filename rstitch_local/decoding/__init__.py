"""The method in pure Python and numpy: entropy, sampling, vocabularies and trajectories. No llama.cpp, no files."""
