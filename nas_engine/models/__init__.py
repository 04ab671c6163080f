"""PyTorch networks: ``Architecture`` to ``torch.nn.Module``, and CIFAR ResNet teachers.

Needs torch.
"""

from nas_engine.faces import face

__getattr__, __dir__, __all__ = face(__name__, __file__)
