"""Routers: the rules, how they are spelled, the learned policy and its file."""
