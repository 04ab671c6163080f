"""Reports: what a network and a run amount to, as records, tables and pictures.

Compute, then draw.
"""
