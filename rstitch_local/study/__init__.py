"""Experiments on a pair: the same problems with several routers, side by side."""
