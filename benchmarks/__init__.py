"""Benchmarks: what the README claims, measured. One study, one module, one command; results as JSON
and as a table in README.md.
"""
