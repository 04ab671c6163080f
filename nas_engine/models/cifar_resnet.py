"""ResNet-20, 32, 44 and 56 teachers for CIFAR (He et al. 2016, section 4.2).

Public state dicts load as they are.

Names and layout are those of github.com/akamaster/pytorch_resnet_cifar10, whose state dicts are
widely used: shortcuts of option A (every other pixel, and channels of zeros on both sides), and
inputs normalised by the mean and standard deviation of ImageNet. The network takes images as
the other networks do and normalises them itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.errors import InputError
from nas_engine.models.graph_network import IMAGE_OFFSET, IMAGE_SCALE
from nas_engine.models.state_dict import load_into, unknown_state, without_prefix

DEPTHS = (20, 32, 44, 56)
"""Weighted layers of the networks of He et al. 2016, table 6, that serve as teachers: 6 per
residual block of a stage, and 2."""

_EXPECTED = f"a CIFAR ResNet ({', '.join(map(str, DEPTHS))})"
_WIDTHS = (16, 32, 64)
_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's red, green and blue over ``[0, 1]``, as in torchvision's models."""
_DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""


def to_unit_range(x: Tensor) -> Tensor:
    """Return images of ``scale_images``, ``[-1, 1)``, as ``[0, 1]`` (``u / 255``), any shape."""
    return (x * (1 / IMAGE_SCALE) + IMAGE_OFFSET) * (1 / 255)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.zeros = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros)
        )
        return functional.relu(y + shortcut)


class CifarResNet(nn.Module):
    """The network of one depth, ``6 * blocks + 2``; made by ``cifar_resnet``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, blocks: int, class_count: int) -> None:
        super().__init__()
        self.depth, self.class_count = 6 * blocks + 2, class_count
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                _BasicBlock(inputs, outputs),
                *(_BasicBlock(outputs, outputs) for _ in range(blocks - 1)),
            )
            for inputs, outputs in zip((_WIDTHS[0], *_WIDTHS), _WIDTHS, strict=False)
        )
        self.linear = nn.Linear(_WIDTHS[-1], class_count)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def blocks(self) -> Iterator[nn.Module]:
        """Yield the residual blocks in order."""
        for layer in (self.layer1, self.layer2, self.layer3):
            yield from layer

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled vector, ``(n, 64, 1, 1)``, of scaled images ``(n, 3, h, w)``.

        One grey channel stands for all three. Images are normalised in their own type; the rest has
        that of the weights.
        """
        x = ((to_unit_range(x) - self.mean) / self.deviation).to(self.conv1.weight.dtype)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return x.mean((2, 3), keepdim=True)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(n, classes)`` of pooled vectors."""
        logits: Tensor = self.linear(features.flatten(1))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n, classes)``, of scaled images ``(n, 3, h, w)``."""
        return self.classify(self.features(x))


def cifar_resnet(depth: int, class_count: int = 10) -> CifarResNet:
    """Return a network with random weights.

    Args:
        depth: One of ``DEPTHS``.
        class_count: Number of outputs.

    Raises:
        InputError: Another depth.
    """
    if depth not in DEPTHS:
        raise InputError(f"depth is {depth!r}; expected one of: {', '.join(map(str, DEPTHS))}")
    return CifarResNet((depth - 2) // 6, class_count)


def load_cifar_resnet(state_dict: Mapping[str, Tensor]) -> CifarResNet:
    """Return the network of a state dict.

    Depth and classes follow from its keys; a prefix ``module.`` is ignored.

    Raises:
        InputError: The state dict is of another network; the message shows some of its keys.
    """
    state = without_prefix(state_dict)
    blocks = len({key.split(".")[1] for key in state if key.startswith("layer1.")})
    weight = state.get("linear.weight")
    depth = 6 * blocks + 2
    if depth not in DEPTHS or not isinstance(weight, Tensor) or weight.dim() != 2:
        raise unknown_state(state, _EXPECTED)
    network = cifar_resnet(depth, len(weight))
    load_into(network, state, _EXPECTED)
    return network
