"""Scores of anything that turns images into vectors: retrieval as UnED defines it, nearest-neighbour classification, intervals."""
