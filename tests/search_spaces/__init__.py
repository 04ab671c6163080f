"""Spaces that ship, spaces by path, and everything that can be wrong with either."""
