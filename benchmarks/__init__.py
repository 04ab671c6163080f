"""Benchmarks: what the README claims, measured. One study, one module, one command; results as JSON
and on the page RESULTS.md.
"""
