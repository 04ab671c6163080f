"""PyTorch networks: ``Architecture`` to ``torch.nn.Module``, and CIFAR ResNet teachers.

Needs torch.
"""
