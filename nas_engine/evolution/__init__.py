"""Evolutionary search: operators, Quantization Bits Refinement, selection, and the loop over explicit state."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
