"""Pipeline: from a SearchConfig to a run directory and back.

The only package that knows every stage.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
