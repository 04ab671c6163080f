"""Costs of whole populations: peak SRAM, Flash, MACs, BitOps, instructions. One cost, one file."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
