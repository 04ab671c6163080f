"""Quantisation: steps and widths learned in training, and the record that it hands over."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
