"""Run directories: folders, records, digests between them, stored options. No torch."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
