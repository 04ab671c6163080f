"""Learned steps of weights, free and bounded."""
