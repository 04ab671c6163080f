"""Allocation: choice of the width of each tensor inside a device's budgets.

Choices rest on data and the trained network. No torch.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
