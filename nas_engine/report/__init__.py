"""Reports: what a network and a run amount to, as records, tables and pictures.

Compute, then draw.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
