"""Tests; they mirror the packages. ``tests/contracts`` holds the suites every plug-in inherits,
``tests/golden`` recorded figures.
"""
