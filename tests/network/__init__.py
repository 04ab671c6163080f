"""Graphs: the record, and that of an architecture."""
