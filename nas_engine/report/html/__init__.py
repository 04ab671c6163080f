"""The page as HTML: records of its content (``document``), and their drawing (``render``).

Knows nothing of networks.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
