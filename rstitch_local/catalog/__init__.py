"""Pairs by name: the catalog (models.toml), downloads, and checks of the two files."""
