"""Networks as graphs: topology, shapes, kinds and widths, without weights."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
