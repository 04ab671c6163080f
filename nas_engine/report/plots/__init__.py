"""Pictures of networks, searches and memory plans. Compute, then draw.

Every picture is ``xxx_data(...)``, which returns a frozen record that can be compared and tested,
and ``draw_xxx(record)``, which returns a matplotlib ``Figure``. Nothing here opens a window or
keeps state; ``save_figure`` writes a picture as PNG and SVG.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
