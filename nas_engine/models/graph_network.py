"""``Architecture`` to PyTorch: one module per layer, run in the order of the network's graph.

One set of modules serves float and quantised training: a ``ConvolutionUnit`` has a place for the
quantiser of its weight and one for what its output goes through (ReLU6 in float, a quantiser
afterwards); ``nas_engine.quantization.prepare`` fills them. Padding is TensorFlow's "same" (for
stride 2 on an even size one pixel less before than after), because TFLite and the memory plan have
that; average pools round as TFLite's int8 pools do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_engine.architecture import Architecture
from nas_engine.errors import InputError
from nas_engine.kernels.functions import (
    DEPTHWISE,
    Ending,
    Kernels,
    Levels,
    depthwise,
    finish,
    quantise_weights,
)
from nas_engine.models.depthwise import depthwise_conv2d
from nas_engine.network.from_architecture import graph_of, same_padding
from nas_engine.network.graph import Graph, Node
from nas_engine.network.graph import Tensor as GraphTensor

IMAGE_OFFSET = 128
"""An image byte ``u`` is the int8 value ``u - 128``: lossless, so the input is never rounded."""

IMAGE_SCALE = 1 / 128
"""Real value of one step of the image: images span ``[-1, 1)``."""


def scale_images(images: Tensor) -> Tensor:
    """Return byte images as network input.

    From ``(n, h, w, c)`` of uint8 to ``(n, c, h, w)`` of float32 in ``[-1, 1)``.
    """
    return (images.permute(0, 3, 1, 2).to(torch.float32) - IMAGE_OFFSET) * IMAGE_SCALE


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
        requantiser = None if self.training else self.requantiser
        weight: Tensor = self.weight_quantiser(self.weight)
        x = self.convolve(x, weight, self.bias if requantiser is None else None)
        x = self.norm(x) if requantiser is None else requantiser(self, x)
        result: Tensor = self.output(x)
        return result

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        kernels: Kernels | None = None,
    ) -> Tensor:
        """Return the convolution of ``(n, i, h, w)`` with a weight of this layer's shape."""
        (top, bottom), (left, right) = (
            same_padding(size, self.kernel, self.stride) for size in x.shape[2:]
        )
        if kernels is not None and self.depthwise and (self.kernel, self.stride) in DEPTHWISE:
            return depthwise(kernels, x, weight, self.stride, (top, left))
        padding = top
        if not top == bottom == left == right:
            x, padding = functional.pad(x, (left, right, top, bottom)), 0
        if self.depthwise:
            return depthwise_conv2d(x, weight, self.stride, padding, bias)
        return functional.conv2d(x, weight, bias, self.stride, padding)


class Block(nn.Module):
    """Layers of one block by the last part of their names, and the end of its last layer.

    ``output`` is the activation behind the sum with the shortcut, or behind the last layer where
    there is none; afterwards it is the quantiser of what leaves the block. ``narrow`` then brings
    the result of the last layer to the steps in which the sum takes it: those of ``output``, or of
    ``own`` where the sum is rectified.

    Attributes:
        input: Name of the tensor that enters the first layer.
        source: Its quantiser; a module of the block only because state dicts name it.
    """

    def __init__(self, units: Mapping[str, ConvolutionUnit], tensor: str, *, relu: bool) -> None:
        super().__init__()
        self.input = tensor
        for part, unit in units.items():
            self.add_module(part, unit)
        self.output: nn.Module = nn.ReLU6() if relu else nn.Identity()
        self.source: nn.Module | None = None
        self.own: Levels | None = None
        self.narrow: Callable[[Tensor], Tensor] | None = None


class GraphNetwork(nn.Module):
    """The network of an architecture: modules that are walked in the order of its graph.

    State dict keys follow the layer names: ``stem``, ``residuals.0.expand`` ... ``classifier``.

    Attributes:
        graph: The graph.
        quantisers: Quantiser of each tensor but the image, by name; empty in float.
        kernels: Kernels that training goes through on a CPU; ``None`` for torch's own way.
        head: Its unit, ``None`` for a network without one.
        pool_source: Quantiser of what is pooled; a module only because state dicts name it.

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
        self.architecture, self.graph = architecture, graph_of(architecture)
        self.quantisers: dict[str, Levels] = {}
        self.kernels: Kernels | None = None
        self._units: dict[str, ConvolutionUnit] = {}
        inside: dict[str, dict[str, ConvolutionUnit]] = {}
        ends: dict[str, str] = {}
        inputs: dict[str, str] = {}
        for node in self.graph.layers:
            unit = self._units[node.name] = _unit(self.graph, node)
            block, _, part = node.name.rpartition(".")
            if block:
                inside.setdefault(block, {})[part] = unit
                ends[block] = node.name
                inputs.setdefault(block, node.input)
        self._ends: dict[str, Block] = {}
        for block, units in inside.items():
            end = self.graph.node(ends[block])
            self._units[end.name].output = nn.Identity()
            relu = not self.graph.tensor(end.output).signed
            self._ends[end.name] = Block(units, inputs[block], relu=relu)
        self.stem = self._units["stem"]
        self.residuals = nn.ModuleList(self._ends.values())
        self.head, self.classifier = self._units.get("head"), self._units["classifier"]
        self.pool_source: nn.Module | None = None
        last = self.graph.last_reads()
        self._dead = [
            [name for name, at in last.items() if at == position]
            for position in range(len(self.graph.nodes))
        ]

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled vector of scaled images.

        From ``(n, c, h, w)`` to ``(n, feature channels, 1, 1)``.
        """
        values, weights = dict.fromkeys(self.graph.inputs, x), self._weights_of_kernels()
        for node, dead in zip(self.graph.nodes[:-1], self._dead, strict=False):
            values[node.output] = x = (
                self._finished(node, values, weights[node.name])
                if node.name in weights
                else self.compute(node, values)
            )
            for name in dead:
                del values[name]
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits ``(n, classes)`` of pooled vectors."""
        last = self.graph.nodes[-1]
        return self.compute(last, {last.input: features}).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n, classes)``, of scaled images ``(n, c, h, w)``."""
        return self.classify(self.features(x))

    def compute(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """Return what a node makes, ``(n, c, h, w)``, of the tensors that it reads, by name."""
        x = values[node.input]
        if node.name not in self._units:
            whole = self.graph.tensor(node.output).shape[:2] == (1, 1)
            return average_pool(
                x, None if whole else node.kernel_height, self.quantisers.get(node.input)
            )
        y: Tensor = self._units[node.name](x)
        block = self._ends.get(node.name)
        if block is None:
            return y
        if node.shortcut is not None:
            y = (y if block.narrow is None else block.narrow(y)) + values[node.shortcut]
        result: Tensor = block.output(y)
        return result

    def _weights_of_kernels(self) -> dict[str, Tensor]:
        """Return the weight of every layer with a batch norm that goes through the kernels."""
        if self.kernels is None or not self.training:
            return {}
        units = {name: unit for name, unit in self._units.items() if unit.bias is None}
        if not self.quantisers:
            return {name: unit.weight for name, unit in units.items()}
        return quantise_weights(
            self.kernels,
            {name: (unit.weight, cast(Any, unit.weight_quantiser)) for name, unit in units.items()},
        )

    def _finished(self, node: Node, values: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        """Return what ``compute`` does in training, by the kernels."""
        assert self.kernels is not None
        unit, block = self._units[node.name], self._ends.get(node.name)
        assert isinstance(unit.norm, nn.BatchNorm2d)
        ending = Ending(
            relu=not self.graph.tensor(node.output).signed,
            levels=self.quantisers.get(node.output),
            own=None if block is None else block.own,
        )
        shortcut = None if node.shortcut is None else values[node.shortcut]
        sums = unit.convolve(values[node.input], weight, kernels=self.kernels)
        return finish(self.kernels, sums, unit.norm, ending, shortcut)

    def blocks(self) -> list[Block]:
        """Return the blocks in order."""
        return list(self._ends.values())

    def end_of(self, layer: str) -> Block | None:
        """Return the block whose last layer this is, ``None`` for any other layer."""
        return self._ends.get(layer)

    def units(self) -> Iterator[tuple[str, ConvolutionUnit]]:
        """Yield name and unit of every layer, as ``Architecture.layer_names`` orders them."""
        yield from self._units.items()


def _unit(graph: Graph[GraphTensor, Node], node: Node) -> ConvolutionUnit:
    source, target = graph.tensor(node.input), graph.tensor(node.output)
    unit = ConvolutionUnit(
        source.channels,
        target.channels,
        node.kernel_height,
        node.stride,
        depthwise=node.kind == "depthwise",
        relu=not target.signed,
    )
    if node.output in graph.outputs:
        unit.norm, unit.bias = nn.Identity(), nn.Parameter(torch.zeros(target.channels))
        nn.init.normal_(unit.weight, std=1 / math.sqrt(source.channels))
    return unit


def average_pool(x: Tensor, kernel: int | None, quantiser: Levels | None = None) -> Tensor:
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
