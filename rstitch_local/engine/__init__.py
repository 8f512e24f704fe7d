"""Drives trajectories over the contexts of two loaded models, and records what happened."""
