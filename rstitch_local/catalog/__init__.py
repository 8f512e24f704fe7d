"""From a pair's name to two checked files on this disk."""
