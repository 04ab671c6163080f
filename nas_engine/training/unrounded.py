"""A trained network without its rounding, layer by layer: what its integers are compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas_engine.errors import InputError
from nas_engine.models.mobilenet import ConvolutionUnit, InvertedResidual, MobileNet, average_pool
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser, activation_range

Values = Mapping[str, Tensor]
"""Tensors by their name in the integer model, real values, ``(n, c, h, w)``."""

Layer = Callable[[Values], Tensor]
"""A layer in float: its output from the tensors before it."""


def layer_outputs(network: MobileNet) -> list[tuple[str, str]]:
    """Return the name of every layer and of the tensor that leaves it, in order."""
    return [(name, target) for name, target, _ in _layers(network)]


@torch.no_grad()
def error_squares(
    network: MobileNet, found: Mapping[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Return sums of squares that compare tensors of a network with its float output.

    Args:
        network: From ``unrounded``.
        found: The image and what left every layer, real values by tensor name, ``(n, h, w, c)``.

    Returns:
        ``(layers, 4)``: the float output from the image on, what was found less that; the float
        output of the layer alone, fed with what was found before it, what was found less that.

    Raises:
        InputError: A tensor of another shape.
    """
    given = {
        name: torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()
        for name, values in found.items()
    }
    floats = {"image": given["image"]}
    rows = []
    for name, target, layer in _layers(network):
        floats[target] = layer(floats)
        own, there = layer(given), given[target]
        if own.shape != there.shape:
            shapes = (
                f"{list(own.shape[1:])} in the trained network and {list(there.shape[1:])} in the "
                "integer model"
            )
            raise InputError(f"{name} gives {shapes}")
        signals = floats[target].double(), own.double()
        rows.append(
            [float(part.square().sum()) for signal in signals for part in (signal, there - signal)]
        )
    return np.array(rows)


@torch.no_grad()
def unrounded(network: MobileNet) -> MobileNet:
    """Return a copy of a trained network whose quantisers saturate as before but do not round.

    Their ranges are a part of the network that training has learned: batch norms count on them, and
    so does the accuracy. With the ranges taken out too (all weights as they are, ReLU6 in place of
    the ranges) a network whose steps have moved far is another network, and what it differs by is
    not the error of its integers. So what saturates is no error here; what is rounded is.
    """
    copied = copy.deepcopy(network).eval()
    for _, unit in copied.units():
        unit.weight_quantiser, unit.output, unit.requantiser = (
            _range_of(unit.weight_quantiser),
            _range_of(unit.output),
            None,
        )
    for block in copied.blocks():
        if isinstance(block.output, ActivationQuantiser):
            low, high = activation_range(
                8, signed=True
            )  # what waits for a sum, see ActivationQuantiser.narrow
            block.narrow = _Range(low * block.output.step, high * block.output.step)
        block.output = _range_of(block.output)
    return copied


class _Range(nn.Module):
    """Clamps to a range, one for all values or one per entry of the first dimension."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.low, self.high = low.detach(), high.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` within the range."""
        return torch.clamp(x, self.low, self.high)


def _range_of(module: nn.Module) -> nn.Module:
    """Return the range of a quantiser; another module as it is."""
    if isinstance(module, WeightQuantiser):
        return _Range(-module.limit * module.step, module.limit * module.step)
    return (
        _Range(module.low * module.step, module.high * module.step)
        if isinstance(module, ActivationQuantiser)
        else module
    )


def _layers(network: MobileNet) -> Iterator[tuple[str, str, Layer]]:
    """Yield each layer of a float network.

    A layer is given as its name, its output tensor, and the function of earlier tensors that
    computes it.

    Tensors have the names of the memory plan, as ``nas_engine.quantization.extract`` gives them to
    the integer model.
    """
    tensor = "stem output"
    yield "stem", tensor, _reading("image", network.stem)
    for name, block in network.named_blocks():
        expanded, filtered, output = f"{name} expanded", f"{name} filtered", f"{name} output"
        yield f"{name}.expand", expanded, _reading(tensor, block.expand)
        yield f"{name}.depthwise", filtered, _reading(expanded, block.depthwise)
        yield f"{name}.project", output, _projecting(filtered, tensor, block)
        tensor = output
    yield "head", "head output", _reading(tensor, network.head)
    yield (
        "classifier",
        "logits",
        lambda values: network.classifier(average_pool(values["head output"], None)),
    )


def _reading(source: str, unit: ConvolutionUnit) -> Layer:
    return lambda values: unit(values[source])


def _projecting(filtered: str, source: str, block: InvertedResidual) -> Layer:
    """Return the last layer of a block with the added shortcut, in float.

    It follows ``InvertedResidual.forward``.
    """

    def layer(values: Values) -> Tensor:
        y: Tensor = block.project(values[filtered])
        if block.shortcut:
            y = y if block.narrow is None else block.narrow(y)
            y = y + (average_pool(values[source], 2) if block.pooled else values[source])
        result: Tensor = block.output(y)
        return result

    return layer
