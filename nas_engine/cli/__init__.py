"""Command line: a thin click layer, one file per command family.

Nothing heavy is imported before a command runs.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
