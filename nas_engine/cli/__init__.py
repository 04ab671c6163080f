"""Command line: a thin click layer, one file per command family.

Nothing heavy is imported before a command runs.
"""
