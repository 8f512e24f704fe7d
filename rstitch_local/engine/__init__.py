"""The engine: loads pairs, renders prompts, runs trajectories in batches, and offers the Python API of a pair."""
