"""Exports of an integer model: C for Cortex-M, TFLite, ONNX, and the manifest common to all."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
