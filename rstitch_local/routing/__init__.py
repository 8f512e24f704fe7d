"""Routers: the rules, their specs, routers from Python, and the learned policy with its file."""
