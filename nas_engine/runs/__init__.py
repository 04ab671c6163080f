"""Run directories: folders, records, digests between them, and options of a whole run on disk. No torch."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
