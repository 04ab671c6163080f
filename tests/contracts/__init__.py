"""Contract suites: one base class per kind of plug-in, inherited by the tests of every plug-in of
that kind.
"""
