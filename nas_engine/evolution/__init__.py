"""Evolutionary search: operators, Quantization Bits Refinement, selection, loop over states."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
