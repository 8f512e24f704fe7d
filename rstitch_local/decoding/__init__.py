"""The method itself: entropy, routing, sampling and Algorithm 1. Knows no llama.cpp, no files, no screens."""
