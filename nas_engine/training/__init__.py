"""Training: recipes, augmentation, distillation, teachers and network files. Needs torch."""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
