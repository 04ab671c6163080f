"""PyTorch networks: ``Architecture`` to ``torch.nn.Module``, and the CIFAR ResNets that serve as teachers. Needs torch."""
