"""Faults swept through every stage and command, see ``__main__``."""
