"""Integer networks: the one definition of correct that every export is compared with.

See docs/integer_model.md.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
