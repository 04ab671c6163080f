"""Labelled images from common formats. No torch.

The formats are CIFAR archives, IDX files, image folders, ``.npz`` and scikit-learn's digits.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
