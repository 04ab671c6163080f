"""Scores against their scalar references."""
