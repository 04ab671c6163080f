"""``Architecture`` to PyTorch: stem, inverted residuals, head, average pool, classifier.

One set of modules serves float and quantised training: a ``ConvolutionUnit`` has a place for the
quantiser of its weight and one for what its output goes through (ReLU6 in float, a quantiser
afterwards); ``nas_engine.quantization.prepare`` fills them. Padding is TensorFlow's "same" (for
stride 2 on an even size one pixel less before than after), because TFLite and the memory plan have
that; average pools round as TFLite's int8 pools do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.architecture import Architecture, Convolution
from nas_engine.block_kinds import INVERTED_RESIDUAL
from nas_engine.errors import InputError
from nas_engine.models.depthwise import depthwise_conv2d
from nas_engine.network.from_architecture import same_padding

IMAGE_OFFSET = 128
"""An image byte ``u`` is the int8 value ``u - 128``: lossless, so the input is never rounded."""

IMAGE_SCALE = 1 / 128
"""Real value of one step of the image: images span ``[-1, 1)``."""


def scale_images(images: Tensor) -> Tensor:
    """Return byte images as network input.

    From ``(n, h, w, c)`` of uint8 to ``(n, c, h, w)`` of float32 in ``[-1, 1)``.
    """
    return (images.permute(0, 3, 1, 2).to(torch.float32) - IMAGE_OFFSET) * IMAGE_SCALE


class Quantiser(Protocol):
    """Interface of the quantiser of its input that an average pool needs."""

    low: int
    step: nn.Parameter


class ConvolutionUnit(nn.Module):
    """Convolution, then batch norm or a bias, then an activation or its quantiser.

    ``weight`` is ``(o, i / groups, k, k)``. Of ``norm`` and ``bias`` exactly one is there. A
    ``requantiser`` takes their place at evaluation: it turns sums into what the integer model makes
    of them.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.depthwise = kernel, stride, depthwise
        self.weight = nn.Parameter(torch.empty(outputs, 1 if depthwise else inputs, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_in" if depthwise else "fan_out")
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.register_parameter("bias", None)
        self.weight_quantiser: nn.Module = nn.Identity()
        self.output: nn.Module = nn.ReLU6() if relu else nn.Identity()
        self.requantiser: Callable[[ConvolutionUnit, Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, o, ceil(h / stride), ceil(w / stride))`` for ``(n, i, h, w)``."""
        weight: Tensor = self.weight_quantiser(self.weight)
        requantiser = None if self.training else self.requantiser
        (top, bottom), (left, right) = (
            same_padding(size, self.kernel, self.stride) for size in x.shape[2:]
        )
        padding = top
        if not top == bottom == left == right:
            x, padding = functional.pad(x, (left, right, top, bottom)), 0
        if self.depthwise:
            x = depthwise_conv2d(x, weight, self.stride, padding)
        else:
            x = functional.conv2d(
                x, weight, self.bias if requantiser is None else None, self.stride, padding
            )
        x = self.norm(x) if requantiser is None else requantiser(self, x)
        result: Tensor = self.output(x)
        return result


def _classifier(inputs: int, classes: int) -> ConvolutionUnit:
    unit = ConvolutionUnit(inputs, classes, 1, relu=False)
    unit.norm, unit.bias = nn.Identity(), nn.Parameter(torch.zeros(classes))
    nn.init.normal_(unit.weight, std=1 / math.sqrt(inputs))
    return unit


class InvertedResidual(nn.Module):
    """1x1 expand, k x k depth-wise, 1x1 project, and the sum with its input where the shapes allow.

    ``output`` is nothing in float; afterwards it is the quantiser of what leaves the block,
    ``source`` that of its input, and ``narrow`` brings the result of the last layer to the steps of
    the sum.
    """

    def __init__(
        self,
        inputs: int,
        bottleneck: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        pooled_shortcut: bool,
    ) -> None:
        super().__init__()
        self.expand = ConvolutionUnit(inputs, bottleneck, 1)
        self.depthwise = ConvolutionUnit(bottleneck, bottleneck, kernel, stride, depthwise=True)
        self.project = ConvolutionUnit(bottleneck, outputs, 1, relu=False)
        self.shortcut = inputs == outputs and (stride == 1 or pooled_shortcut)
        self.pooled = self.shortcut and stride == 2
        self.output: nn.Module = nn.Identity()
        self.source: Quantiser | None = None
        self.narrow: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, ceil(h / stride), ceil(w / stride))``."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        if self.shortcut:
            if self.narrow is not None:
                y = self.narrow(y)
            y = y + (average_pool(x, 2, self.source) if self.pooled else x)
        result: Tensor = self.output(y)
        return result


class MobileNet(nn.Module):
    """The network of an architecture.

    State dict keys follow the layer names: ``stem``, ``residuals.0.expand`` ... ``classifier``.

    Raises:
        InputError: The architecture has no classifier, so that there is nothing to train it for.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.classifier is None:
            raise InputError(
                "the architecture has no classifier, so it cannot be trained; search again with "
                "--classes N"
            )
        if others := {block.kind for block in architecture.blocks} - {INVERTED_RESIDUAL}:
            raise InputError(
                f"the architecture has {' and '.join(sorted(others))} blocks, which cannot be "
                f"trained yet; search a space with {INVERTED_RESIDUAL} blocks alone"
            )
        self.architecture = architecture
        self.stem = _convolution(architecture.input_channels, architecture.stem)
        channels, size, residuals = (
            architecture.stem.channels,
            -(-architecture.resolution // architecture.stem.stride),
            [],
        )
        for block in architecture.blocks:
            for index in range(block.depth):
                stride = (
                    block.stride if index == 0 and size > 1 else 1
                )  # a 1x1 map has nothing to stride over
                residuals.append(
                    InvertedResidual(
                        channels,
                        block.bottleneck,
                        block.channels,
                        block.kernel,
                        stride,
                        pooled_shortcut=architecture.pooled_shortcut,
                    )
                )
                channels, size = block.channels, -(-size // stride)
        self.residuals = nn.ModuleList(residuals)
        self.head = _convolution(channels, architecture.head)
        self.classifier = _classifier(architecture.head.channels, architecture.classifier.classes)
        self.pool_source: Quantiser | None = None

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled vector of scaled images.

        From ``(n, c, h, w)`` to ``(n, head channels, 1, 1)``.
        """
        x = self.stem(x)
        for residual in self.residuals:
            x = residual(x)
        x = self.head(x)
        return average_pool(x, None, self.pool_source)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(n, classes)`` of pooled vectors."""
        logits: Tensor = self.classifier(features)
        return logits.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n, classes)``, of scaled images ``(n, c, h, w)``."""
        return self.classify(self.features(x))

    def blocks(self) -> list[InvertedResidual]:
        """Return the inverted residuals in order."""
        return [module for module in self.residuals if isinstance(module, InvertedResidual)]

    def named_blocks(self) -> Iterator[tuple[str, InvertedResidual]]:
        """Yield name (``s1.b1``) and module of every inverted residual in order."""
        names = [
            name.removesuffix(".expand")
            for name in self.architecture.layer_names()
            if name.endswith(".expand")
        ]
        yield from zip(names, self.blocks(), strict=True)

    def units(self) -> Iterator[tuple[str, ConvolutionUnit]]:
        """Yield name and unit of every layer, as ``Architecture.layer_names`` orders them."""
        units = [self.stem]
        for block in self.blocks():
            units += [block.expand, block.depthwise, block.project]
        units += [self.head, self.classifier]
        yield from zip(self.architecture.layer_names(), units, strict=True)

    def outputs(self) -> dict[str, nn.Module]:
        """Return by layer what its result goes through last, the sum with a shortcut included."""
        blocks = {f"{name}.project": block.output for name, block in self.named_blocks()}
        return {name: unit.output for name, unit in self.units()} | blocks


def _convolution(inputs: int, convolution: Convolution) -> ConvolutionUnit:
    return ConvolutionUnit(inputs, convolution.channels, convolution.kernel, convolution.stride)


def average_pool(x: Tensor, kernel: int | None, quantiser: Quantiser | None = None) -> Tensor:
    """Return averages over adjacent ``kernel`` x ``kernel`` windows.

    Windows over the edge count only the values inside.

    Args:
        x: ``(n, c, h, w)``; on the grid of ``quantiser`` if that is given.
        kernel: Height, width and stride of a window; ``None`` for the whole map.
        quantiser: What quantised ``x``. Then the result is on the same grid, rounded as TFLite's
            AVERAGE_POOL_2D rounds int8 values (half away from zero; an unsigned level counts from
            -128), with the gradient of the plain average.
    """
    side = max(x.shape[2:])
    kernel = side if kernel is None else min(kernel, side)
    mean = functional.avg_pool2d(x, kernel, kernel, ceil_mode=True, count_include_pad=False)
    if quantiser is None:
        return mean
    with torch.no_grad():
        offset = 0 if quantiser.low < 0 else IMAGE_OFFSET
        levels = (x / quantiser.step).round_() - offset
        count = functional.avg_pool2d(
            torch.ones_like(x[:1, :1]), kernel, kernel, ceil_mode=True, divisor_override=1
        )
        total = functional.avg_pool2d(levels, kernel, kernel, ceil_mode=True, divisor_override=1)
        rounded = ((total + total.sign() * (count / 2).floor_()) / count).trunc_() + offset
        error = rounded * quantiser.step - mean
    return mean + error
